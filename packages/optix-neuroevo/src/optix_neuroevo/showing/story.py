"""The decision log's events about topology, as a story with graphs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from optix_neuroevo.graph.neuron_graph import NeuronGraph

SHOWN = ("begin", "grown", "kept", "reverted", "abandoned", "pruned", "merged")
"""What is a chapter of its own; refusals are counted."""


@dataclass(frozen=True, slots=True)
class Chapter:
    """One thing that happened to the topology.

    Attributes:
        action: One of :data:`SHOWN`.
        window: Windows learned from by then.
        step: Environment steps.
        sentences: What and why, with numbers.
        graph: The graph right after; None if the event carries none.
        new: Ids of neurons and edges that the graph before did not have.
        refused: Checks since the last chapter that changed nothing.
        n_neurons: Neurons after it.
        n_edges: Edges after it.
    """

    action: str
    window: int
    step: int
    sentences: tuple[str, ...]
    graph: NeuronGraph | None
    new: tuple[str, ...]
    refused: int
    n_neurons: int
    n_edges: int


def chapters(events: Iterable[Any]) -> list[Chapter]:
    """The story that the events of a decision log tell."""
    found: list[Chapter] = []
    known: set[str] = set()
    refused = 0
    for event in events:
        if event.kind != "topology":
            continue
        numbers = event.numbers
        action = str(numbers.get("action"))
        if action not in SHOWN:
            refused += 1
            continue
        document = numbers.get("graph")
        graph = None if document is None else graph_of(document)
        ids = known if graph is None else {*graph.all_neuron_ids(), *graph.all_edge_ids()}
        found.append(
            Chapter(
                action=action, window=event.window, step=event.step, sentences=tuple(sentences(action, numbers)),
                graph=graph, new=tuple(sorted(ids - known)) if known else (), refused=refused,
                n_neurons=int(numbers.get("n_neurons", 0)), n_edges=int(numbers.get("n_edges", 0)),
            )
        )  # fmt: skip
        known, refused = ids, 0
    return found


def graph_of(document: Mapping[str, Any]) -> NeuronGraph:
    """The graph that :func:`optix_neuroevo.control.changing.picture` described; parameters of types are initial."""
    graph = NeuronGraph(seed=0)
    for name, role, kind, activation, cell, region in document["neurons"]:
        graph.add_neuron(role, activation, name, cell_type=cell, neuron=kind, region=region)
    for name, src, dst, weight, delay in document["edges"]:
        graph.add_edge(src, dst, float(weight), int(delay), name)
    return graph


def sentences(action: str, numbers: Mapping[str, Any]) -> list[str]:
    """What happened and why."""
    by = numbers.get("mutator")
    if action == "begin":
        return ["The network at the start."]
    if action == "grown":
        proposal: Mapping[str, Any] = numbers.get("proposal") or {}
        votes: Mapping[str, Mapping[str, Any]] = numbers.get("votes") or {}
        said = [f"Grown by {by}: {proposal.get('reason')}."]
        said += [f"{gate}: {vote.get('reason')}." for gate, vote in votes.items()]
        change = numbers.get("output_change")
        return (
            said if change is None else [*said, f"Outputs on the last window moved by {change:.2g} at most."]
        )
    if action in {"kept", "reverted"}:
        before, after, bound = (float(numbers.get(n, 0.0)) for n in ("before", "after", "bound"))
        verdict = "It paid and stays" if action == "kept" else "It did not pay and was undone exactly"
        return [
            f"{verdict}: scores went from {before:.4g} to {after:.4g}; with confidence the gain is {bound:.4g} or more."
        ]
    if action == "abandoned":
        return [f"The trial of {by} ended without a verdict: {numbers.get('why')}."]
    proposals: list[Mapping[str, Any]] = numbers.get("proposals") or []
    what = "Pruned" if action == "pruned" else "Merged"
    return [f"{what} by {by}: {p.get('reason')}." for p in proposals[:10]]
