"""The parts of a network that a controller looks after, and how its options become gates and mutators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optix_core.topology import GrowthGate, TopologyMutator
from optix_neuroevo.graph.neuron_graph import NeuronGraph

GROW_OPS: Mapping[str, str] = {
    "insert_edge": "insert_on_edge",
    "split_neuron": "split",
    "add_edge": "add_missing_edge",
}
"""The three ways to grow that have names of their own, and the mutators that they mean."""

GROW_OPTIONS: Mapping[str, Mapping[str, Any]] = {"add_edge": {"per_change": 16}}
"""How those mutators are made: a memory is a group of edges, of which each alone may not pay in its probation."""


@dataclass(slots=True)
class Region:
    """One part.

    Attributes:
        name: For logs.
        graph: The graph that it is, or is part of.
        label: The region's label in the graph; None: the whole graph.
        since: Windows since the last growth.
        undone: Growths in a row that were undone.
        quiet: Weak edges to the number of windows in a row for which they were.
    """

    name: str
    graph: NeuronGraph
    label: str | None
    since: int
    undone: int = 0
    quiet: dict[str, int] = field(default_factory=dict[str, int])

    def hidden(self) -> int:
        """How many hidden neurons it has."""
        graph = self.graph
        return sum(
            1
            for name in graph.hidden_ids
            if self.label is None or graph.get_neuron(name).region == self.label
        )


def mutator(what: str | TopologyMutator, options: Mapping[str, Any] | None = None) -> TopologyMutator:
    """The mutator that a name means: of any plugin, ours among them, or itself.

    Raises:
        PluginError: There is none of that name.
    """
    if not isinstance(what, str):
        return what
    from optix_core.plugins.lookup import create
    from optix_core.plugins.registry import default_registry

    component = default_registry().topology_mutator(GROW_OPS.get(what, what))
    return create(component, (), options or GROW_OPTIONS.get(what, {}))


def gates(chosen: Sequence[str | GrowthGate]) -> dict[str, GrowthGate]:
    """Gates by name: of any plugin, or as they are."""
    from optix_core.plugins.lookup import create
    from optix_core.plugins.registry import default_registry

    found: dict[str, GrowthGate] = {}
    for gate in chosen:
        if isinstance(gate, str):
            found[gate] = create(default_registry().growth_gate(gate), (), {})
        else:
            found[type(gate).__name__] = gate
    return found
