"""What several mutators ask about a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from optix_core.topology import Budget, GraphView, NeuronView, Proposal, Signals


class Missing(NamedTuple):
    """An edge that does not exist, and the gradient that its weight would have."""

    src: str
    dst: str
    delay: int
    gradient: float


def best(proposals: Sequence[Proposal], budget: Budget) -> list[Proposal]:
    """Those that fit the budget, largest gain first; equal gains stay in the order in which they came."""
    fitting = [p for p in proposals if p.neurons <= budget.neurons and p.edges <= budget.edges]
    return sorted(fitting, key=lambda p: -p.gain)[: budget.changes]


def hidden(graph: GraphView) -> list[NeuronView]:
    """Hidden neurons, in the order of the view."""
    return [n for n in graph.neurons() if n.role == "hidden"]


def degrees(graph: GraphView) -> dict[str, int]:
    """How many edges begin or end at each neuron; a loop from a neuron to itself counts once."""
    count = {n.id: 0 for n in graph.neurons()}
    for edge in graph.edges():
        for end in {edge.src, edge.dst}:
            count[end] += 1
    return count


def importances(graph: GraphView, signals: Signals) -> dict[str, float]:
    """``sum of incident |w| * (mean |h| + 1e-8)`` for each neuron whose activity was measured."""
    incident = dict.fromkeys(signals.activity, 0.0)
    for edge in graph.edges():
        for end in {edge.src, edge.dst}:
            if end in incident:
                incident[end] += abs(edge.weight)
    return {name: total * (signals.activity[name] + 1e-8) for name, total in incident.items()}


def missing_edges(
    graph: GraphView, signals: Signals, budget: Budget, *, significance: float
) -> Iterator[Missing]:
    """Edges that could be added and whose gradient stands out of its own noise.

    Args:
        graph: The network.
        signals: With ``edge_gradients``.
        budget: Its ``max_delay`` counts.
        significance: Least ratio of a gradient to its standard error, where that was measured.
    """
    there = {(e.src, e.dst, e.delay) for e in graph.edges()}
    known = {n.id for n in graph.neurons()}
    for found in signals.edge_gradients:
        if found.delay > budget.max_delay:
            continue
        for i, dst in enumerate(found.dst):
            for j, src in enumerate(found.src):
                if (src, dst, found.delay) in there or not {src, dst} <= known:
                    continue
                gradient = float(found.gradient[i, j])
                if gradient == 0.0 or (
                    found.deviation is not None
                    and abs(gradient) < significance * float(found.deviation[i, j])
                ):
                    continue
                if found.delay == 0 and graph.would_cycle(src, dst):
                    continue
                yield Missing(src, dst, found.delay, gradient)
