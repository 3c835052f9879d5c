"""Mutators that make a network larger; all of them leave the function as it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from optix_core.topology import Budget, EdgeGradients, GraphEdit, GraphView, Proposal, Signals
from optix_neuroevo.mutators.measures import best, degrees, hidden, missing_edges


class InsertOnEdge:
    """Puts a relay into the strongest edge. The relay is the identity first and can become non-linear by learning."""

    def propose(
        self, graph: GraphView, signals: Signals, budget: Budget, rng: np.random.Generator
    ) -> Sequence[Proposal]:
        """One proposal per edge, by the size of its weight."""
        del signals, rng
        return best(
            [
                Proposal(
                    targets=(edge.id,), gain=abs(edge.weight), neurons=1, edges=1,
                    reason=f"the edge {edge.src} to {edge.dst} has the weight {edge.weight:.4g}",
                )
                for edge in graph.edges()
            ],
            budget,
        )  # fmt: skip

    def apply(self, edit: GraphEdit, proposal: Proposal, rng: np.random.Generator) -> None:
        """Insert the relay."""
        del rng
        edit.insert_on_edge(proposal.targets[0])


class Split:
    """Splits the hidden neuron whose output matters most: largest gradient times activity, or largest activity."""

    def propose(
        self, graph: GraphView, signals: Signals, budget: Budget, rng: np.random.Generator
    ) -> Sequence[Proposal]:
        """One proposal per hidden neuron whose activity was measured."""
        del rng
        count, proposals = degrees(graph), list[Proposal]()
        loops = {e.src for e in graph.edges() if e.src == e.dst}
        for neuron in hidden(graph):
            if neuron.id not in signals.activity:
                continue
            activity = signals.activity[neuron.id]
            slope = signals.bias_gradients.get(neuron.id, 1.0) if signals.bias_gradients else 1.0
            proposals.append(
                Proposal(
                    targets=(neuron.id,), gain=activity * slope, neurons=1,
                    # a loop becomes four edges: between the twins, both ways, as well
                    edges=count[neuron.id] + 2 * (neuron.id in loops),
                    reason=f"{neuron.id} has a mean |h| of {activity:.4g} and a mean |dL/db| of {slope:.4g}",
                )
            )  # fmt: skip
        return best(proposals, budget)

    def apply(self, edit: GraphEdit, proposal: Proposal, rng: np.random.Generator) -> None:
        """Make the twin."""
        edit.split_neuron(proposal.targets[0], rng)


class AddMissingEdge:
    """Adds the edge that does not exist and whose weight would have the largest gradient, with the weight 0.

    The growth half of RigL (Evci et al. 2020, arXiv:1911.11134, section 3), for edges of any delay: a delayed edge is
    how a network without memory comes to have one.

    Args:
        significance: Least ratio of a gradient to its standard error over minibatches, where that was measured.
        per_change: Most edges that one proposal adds: the best of all delays together.
    """

    def __init__(self, *, significance: float = 3.0, per_change: int = 1) -> None:
        if significance < 0 or per_change < 1:
            raise ValueError(
                f"significance is at least 0 and per_change at least 1, got {significance}, {per_change}"
            )
        self._significance, self._per_change = significance, per_change

    def propose(
        self, graph: GraphView, signals: Signals, budget: Budget, rng: np.random.Generator
    ) -> Sequence[Proposal]:
        """Groups of ``per_change`` missing edges, steepest first."""
        del rng
        found = sorted(
            missing_edges(graph, signals, budget, significance=self._significance),
            key=lambda m: -abs(m.gradient),
        )
        size = min(self._per_change, budget.edges)
        if size < 1:
            return []
        groups = [found[at : at + size] for at in range(0, min(len(found), size * budget.changes), size)]
        return best(
            [
                Proposal(
                    targets=tuple(dict.fromkeys(end for m in group for end in (m.src, m.dst))),
                    gain=float(np.sqrt(sum(m.gradient**2 for m in group))), edges=len(group),
                    reason="missing edges with large gradients: "
                    + ", ".join(f"{m.src} to {m.dst} delay {m.delay} ({m.gradient:+.3g})" for m in group),
                    payload={"edges": [[m.src, m.dst, m.delay] for m in group]},
                )
                for group in groups
            ],
            budget,
        )  # fmt: skip

    def apply(self, edit: GraphEdit, proposal: Proposal, rng: np.random.Generator) -> None:
        """Add the edges; one that would by now close a cycle is left out."""
        del rng
        for src, dst, delay in proposal.payload["edges"]:
            if delay or not edit.would_cycle(src, dst):
                edit.add_edge(src, dst, weight=0.0, delay=int(delay))


class AddNeuron:
    """Adds a neuron with random incoming weights and outgoing ones of 0.

    At a saddle, where gradients of missing edges vanish, a random feature is still something to learn from.

    Args:
        gain: Standard deviation of the new neuron's input if its sources have unit variance.
    """

    def __init__(self, *, gain: float = 2.0) -> None:
        if not gain > 0:
            raise ValueError(f"gain is above 0, got {gain}")
        self._gain = gain

    def propose(
        self, graph: GraphView, signals: Signals, budget: Budget, rng: np.random.Generator
    ) -> Sequence[Proposal]:
        """One proposal at most: from all inputs to all outputs."""
        del signals
        neurons = graph.neurons()
        src = [n.id for n in neurons if n.role == "input"]
        dst = [n.id for n in neurons if n.role == "output"]
        if not src or not dst:
            return []
        draws = rng.standard_normal(len(src)) * self._gain / np.sqrt(len(src))
        cells = {n.id: n.cell for n in neurons}
        signs = {"excitatory": 1.0, "inhibitory": -1.0}
        weights = [
            float(w if cells[s] == "any" else signs[cells[s]] * abs(w))
            for s, w in zip(src, draws, strict=True)
        ]
        return best(
            [
                Proposal(
                    targets=(*src, *dst), gain=0.0, neurons=1, edges=len(src) + len(dst),
                    reason=f"a random feature of {len(src)} inputs for {len(dst)} outputs",
                    payload={"sources": src, "weights": weights, "targets": dst},
                )
            ],
            budget,
        )  # fmt: skip

    def apply(self, edit: GraphEdit, proposal: Proposal, rng: np.random.Generator) -> None:
        """Add the neuron and its edges."""
        del rng
        new = edit.add_neuron(activation="tanh")
        for src, weight in zip(proposal.payload["sources"], proposal.payload["weights"], strict=True):
            edit.add_edge(src, new, weight=float(weight), delay=0)
        for dst in proposal.payload["targets"]:
            edit.add_edge(new, dst, weight=0.0, delay=0)


class GradMax:
    """Adds a neuron whose incoming weights are 0 and whose outgoing ones make their gradient as large as possible.

    Evci et al. 2022 (arXiv:2201.05125, section 3.1): with ``G[z, u]`` the gradient of an edge from u to z, incoming
    weights of a new neuron have the gradient ``G^T w_out``, whose norm is largest, among all ``w_out`` of one norm, for
    the first left singular vector of G. A network that may use delays is offered the delay of the largest singular
    value; outgoing edges have none.

    Args:
        sources: Most incoming edges: the sources that the first right singular vector weighs most.
        targets: Most outgoing edges.
        scale: Norm of the outgoing weights.
    """

    def __init__(self, *, sources: int = 16, targets: int = 16, scale: float = 1.0) -> None:
        if sources < 1 or targets < 1 or not scale > 0:
            raise ValueError(
                f"sources and targets are at least 1, scale above 0: {sources}, {targets}, {scale}"
            )
        self._sources, self._targets, self._scale = sources, targets, scale

    def propose(
        self, graph: GraphView, signals: Signals, budget: Budget, rng: np.random.Generator
    ) -> Sequence[Proposal]:
        """One proposal per delay that was looked at."""
        del rng
        if budget.neurons < 1 or budget.edges < 2:
            return []
        roles = {n.id: n.role for n in graph.neurons()}
        found = [
            self._for_delay(measured, roles, budget)
            for measured in signals.edge_gradients
            if measured.delay <= budget.max_delay
        ]
        return best([p for p in found if p is not None], budget)

    def _for_delay(self, measured: EdgeGradients, roles: dict[str, str], budget: Budget) -> Proposal | None:
        # within the step, a new neuron that reads inputs only can feed anything
        src = [
            j for j, s in enumerate(measured.src) if s in roles and (measured.delay or roles[s] == "input")
        ]
        dst = [i for i, d in enumerate(measured.dst) if d in roles]
        if not src or not dst:
            return None
        left, values, right = np.linalg.svd(measured.gradient[np.ix_(dst, src)], full_matrices=False)
        if not values[0] > 0.0:
            return None
        n_out = min(self._targets, len(dst), max(1, budget.edges // 2))
        n_in = min(self._sources, len(src), budget.edges - n_out)
        out = np.argsort(-np.abs(left[:, 0]), kind="stable")[:n_out]
        into = np.argsort(-np.abs(right[0]), kind="stable")[:n_in]
        weights = left[out, 0] / np.linalg.norm(left[out, 0]) * self._scale
        names_in = [measured.src[src[j]] for j in into]
        names_out = [measured.dst[dst[i]] for i in out]
        return Proposal(
            targets=tuple(dict.fromkeys([*names_in, *names_out])), gain=float(values[0]), neurons=1,
            edges=n_in + n_out,
            reason=f"a new neuron's weights from {n_in} sources with delay {measured.delay} would have a gradient "
            f"of norm {values[0]:.3g} at best",
            payload={
                "sources": names_in, "targets": names_out, "delay": measured.delay,
                "weights": [float(w) for w in weights],
            },
        )  # fmt: skip

    def apply(self, edit: GraphEdit, proposal: Proposal, rng: np.random.Generator) -> None:
        """Add the neuron and its edges."""
        del rng
        payload = proposal.payload
        new = edit.add_neuron(activation="tanh")
        for src in payload["sources"]:
            edit.add_edge(src, new, weight=0.0, delay=int(payload["delay"]))
        for dst, weight in zip(payload["targets"], payload["weights"], strict=True):
            edit.add_edge(new, dst, weight=float(weight), delay=0)
