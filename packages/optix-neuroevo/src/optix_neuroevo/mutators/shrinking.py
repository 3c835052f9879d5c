"""Mutators that make a network smaller where it loses little."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from optix_core.topology import Budget, GraphEdit, GraphView, Proposal, Signals
from optix_neuroevo.mutators.measures import best, degrees, hidden, importances


class PruneEdge:
    """Takes away edges whose weight in effect is next to nothing.

    Args:
        threshold: Largest ``|w|`` that is next to nothing.
    """

    def __init__(self, *, threshold: float = 1e-3) -> None:
        self._threshold = threshold

    def propose(
        self, graph: GraphView, signals: Signals, budget: Budget, rng: np.random.Generator
    ) -> Sequence[Proposal]:
        """One proposal per weak edge that is old enough, the weakest first."""
        del signals, rng
        return best(
            [
                Proposal(
                    targets=(e.id,), gain=-abs(e.weight), edges=-1,
                    reason=f"the weight {e.weight:.3g} of {e.src} to {e.dst} (delay {e.delay}) is below "
                    f"{self._threshold:.3g} at the age of {e.age} windows",
                )
                for e in graph.edges()
                if abs(e.weight) < self._threshold and e.age >= budget.min_age
            ],
            budget,
        )  # fmt: skip

    def apply(self, edit: GraphEdit, proposal: Proposal, rng: np.random.Generator) -> None:
        """Take the edge away."""
        del rng
        edit.remove_edge(proposal.targets[0])


class PruneNeuron:
    """Takes away hidden neurons that neither matter nor learn; what they still did is left to their neighbours.

    Args:
        threshold: Largest importance (``sum of incident |w| * mean |h|``) that does not matter.
        grad_eps: Mean ``|dL/db|`` below which a neuron does not learn.
    """

    def __init__(self, *, threshold: float = 1e-4, grad_eps: float = 1e-6) -> None:
        self._threshold, self._grad_eps = threshold, grad_eps

    def propose(
        self, graph: GraphView, signals: Signals, budget: Budget, rng: np.random.Generator
    ) -> Sequence[Proposal]:
        """One proposal per such neuron that is old enough, the least important first."""
        del rng
        neurons = hidden(graph)
        if len(neurons) <= budget.min_hidden:
            return []
        matter, proposals = importances(graph, signals), list[Proposal]()
        count = degrees(graph)
        ends = _fans(graph)
        for n in neurons:
            importance, slope = matter.get(n.id), signals.bias_gradients.get(n.id)
            if importance is None or slope is None or n.age < budget.min_age:
                continue
            if importance < self._threshold and slope < self._grad_eps:
                fan_in, fan_out = ends[n.id]
                proposals.append(
                    Proposal(
                        targets=(n.id,), gain=-importance, neurons=-1, edges=fan_in * fan_out - count[n.id],
                        reason=f"{n.id} has the importance {importance:.3g} and a mean |dL/db| of {slope:.3g}",
                    )
                )  # fmt: skip
        return best(proposals, budget)

    def apply(self, edit: GraphEdit, proposal: Proposal, rng: np.random.Generator) -> None:
        """Take the neuron away."""
        del rng
        edit.prune_neuron(proposal.targets[0])


class MergeTwins:
    """Merges two hidden neurons of one kind that say the same.

    Args:
        similarity: Least correlation of their outputs.
        threshold: Both are more important than this; else pruning is for them.
    """

    def __init__(self, *, similarity: float = 0.95, threshold: float = 1e-4) -> None:
        self._similarity, self._threshold = similarity, threshold

    def propose(
        self, graph: GraphView, signals: Signals, budget: Budget, rng: np.random.Generator
    ) -> Sequence[Proposal]:
        """One proposal per pair that is alike, the most alike first; the more important one is kept if it can be."""
        del rng
        neurons = {n.id: n for n in hidden(graph)}
        if len(neurons) <= budget.min_hidden:
            return []
        matter, count, proposals = importances(graph, signals), degrees(graph), list[Proposal]()
        for (a, b), correlation in signals.correlation.items():
            if a not in neurons or b not in neurons or correlation <= self._similarity:
                continue
            one, two = neurons[a], neurons[b]
            alike = (one.type, one.activation, one.cell, one.region) == (
                two.type, two.activation, two.cell, two.region,
            )  # fmt: skip
            old = min(one.age, two.age) >= budget.min_age
            weights = (matter.get(a, 0.0), matter.get(b, 0.0))
            if not alike or not old or min(weights) <= self._threshold:
                continue
            pairs = [(a, b), (b, a)] if weights[0] >= weights[1] else [(b, a), (a, b)]
            possible = [pair for pair in pairs if _can_take_over(graph, *pair)]
            if not possible:
                continue
            keep, remove = possible[0]
            fan_in, fan_out = _fans(graph)[remove]
            proposals.append(
                Proposal(
                    targets=(keep, remove), gain=float(correlation), neurons=-1,
                    edges=max(fan_out - count[remove], -count[remove]) if fan_in + fan_out else 0,
                    reason=f"{keep} and {remove} have the correlation {correlation:.4f} and the importances "
                    f"{max(weights):.3g} and {min(weights):.3g}",
                )
            )  # fmt: skip
        return best(proposals, budget)

    def apply(self, edit: GraphEdit, proposal: Proposal, rng: np.random.Generator) -> None:
        """Merge the second into the first."""
        del rng
        edit.merge_neurons(proposal.targets[0], proposal.targets[1])


def _can_take_over(graph: GraphView, keep: str, remove: str) -> bool:
    """Whether ``keep`` can be read within the step wherever ``remove`` is."""
    return not any(e.src == remove and e.delay == 0 and graph.would_cycle(keep, e.dst) for e in graph.edges())


def _fans(graph: GraphView) -> dict[str, tuple[int, int]]:
    """How many edges from others end and begin at each neuron."""
    found = {n.id: [0, 0] for n in graph.neurons()}
    for e in graph.edges():
        if e.src != e.dst:
            found[e.dst][0] += 1
            found[e.src][1] += 1
    return {name: (a, b) for name, (a, b) in found.items()}
