"""A neuron graph as mutators see it and change it: :mod:`optix_core.topology` on top of the operations."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from optix_core.topology import EdgeView, GraphEdit, GraphView, NeuronView
from optix_core.topology.view import Cell, Role
from optix_neuroevo.graph.delta import GraphDelta
from optix_neuroevo.graph.neuron_graph import NeuronGraph
from optix_neuroevo.graph.weights import allowed
from optix_neuroevo.neurons.prototypes import CELL_TYPES
from optix_neuroevo.operations.insert import insert_neuron_on_edge
from optix_neuroevo.operations.merge import merge_neurons
from optix_neuroevo.operations.prune import prune_neuron
from optix_neuroevo.operations.split import split_neuron
from optix_neuroevo.plan.probe import Probe

Ages = Callable[[str], int]


class GraphEditor:
    """Looks at a graph, or at one region of it, and changes it.

    Args:
        graph: The graph.
        neuron_age: Windows since a neuron came, by id; None: everything is old.
        edge_age: The same of edges.
        region: Show hidden neurons and outputs of this region only, and edges into them; None: all.
        probe: What the graph did lately, by which pruning and merging fit what stays.
    """

    def __init__(
        self,
        graph: NeuronGraph,
        *,
        neuron_age: Ages | None = None,
        edge_age: Ages | None = None,
        region: str | None = None,
        probe: Probe | None = None,
    ) -> None:
        self._graph, self._region, self._probe = graph, region, probe
        self._neuron_age, self._edge_age = neuron_age or _old, edge_age or _old

    # --- looking ---

    def neurons(self) -> Sequence[NeuronView]:
        """All neurons, or those of the region, in the order in which they came."""
        found = [self._graph.get_neuron(name) for name in self._graph.all_neuron_ids()]
        return [
            NeuronView(
                id=n.neuron_id, role=cast("Role", n.role), type=n.type_name, activation=n.activation,
                cell=cast("Cell", n.cell_type), region=n.region, age=self._neuron_age(n.neuron_id),
            )
            for n in found
            if self._region is None or n.region == self._region
        ]  # fmt: skip

    def edges(self) -> Sequence[EdgeView]:
        """All edges, or those inside the region, in the order in which they came."""
        graph, e = self._graph, self._graph.edges
        slots = e.slots()
        slots = slots[np.argsort(e["uid"][slots], kind="stable")]
        effective = graph.effective_weights()
        found: list[EdgeView] = []
        for slot in slots.tolist():
            src, dst = int(e["src"][slot]), int(e["dst"][slot])
            if self._region is not None and not (self._inside(src) and self._inside(dst)):
                continue
            name = graph.edge_at(slot)
            found.append(
                EdgeView(
                    id=name, src=graph.neuron_at(src), dst=graph.neuron_at(dst), weight=float(effective[slot]),
                    delay=int(e["delay"][slot]), age=self._edge_age(name),
                )
            )  # fmt: skip
        return found

    def would_cycle(self, src: str, dst: str) -> bool:
        """Whether an edge without delay would close a cycle without delay."""
        return self._graph.would_cycle(src, dst)

    # --- changing ---

    def add_neuron(
        self, *, activation: str = "tanh", neuron_type: str = "point", cell: Cell = "any", region: str = ""
    ) -> str:
        """A new hidden neuron."""
        where = region or self._region or self._graph.region_names[0]
        return self._graph.add_neuron("hidden", activation, cell_type=cell, neuron=neuron_type, region=where)

    def add_edge(self, src: str, dst: str, *, weight: float = 0.0, delay: int = 0) -> str:
        """A new edge."""
        cell = self._graph.cell_type_of(src)
        if not allowed(weight, CELL_TYPES.index(cell)):
            raise ValueError(f"{src} is {cell}; an outgoing weight cannot be {weight}")
        return self._graph.add_edge(src, dst, weight, delay)

    def set_weight(self, edge: str, weight: float) -> None:
        """Give an edge another weight."""
        self._graph.set_weight(edge, weight)

    def remove_edge(self, edge: str) -> None:
        """Take an edge away."""
        self._graph.remove_edge(edge)

    def remove_neuron(self, neuron: str) -> None:
        """Take a hidden neuron and its edges away."""
        role = self._graph.get_neuron(neuron).role
        if role != "hidden":
            raise ValueError(f"{neuron} is an {role} neuron; only hidden ones can be removed")
        self._graph.remove_neuron(neuron)

    def insert_on_edge(self, edge: str) -> str:
        """A relay that is the identity now and that learning can bend."""
        return insert_neuron_on_edge(self._graph, edge, neuron="morph")

    def split_neuron(self, neuron: str, rng: Any) -> str:
        """A twin, with unequal shares of the outgoing weights."""
        return split_neuron(self._graph, neuron, rng=rng)[1]

    def prune_neuron(self, neuron: str) -> None:
        """Take a hidden neuron away and let its sources do what can be predicted of it."""
        prune_neuron(self._graph, neuron, probe=self._probe)

    def merge_neurons(self, keep: str, remove: str) -> None:
        """Let one neuron do what another did, as the probe shows it."""
        merge_neurons(self._graph, keep, remove, probe=self._probe)

    def _inside(self, slot: int) -> bool:
        graph = self._graph
        return graph.region_names[graph.neurons["region"][slot]] == self._region


class RunningGraph:
    """A graph with the memory of some environments: what the conformance kit of mutators runs.

    Args:
        graph: The graph.
    """

    def __init__(self, graph: NeuronGraph) -> None:
        self.graph = graph
        self._memory: NDArray[Any] = np.zeros((1, graph.memory_size), graph.dtype)
        graph.subscribe(self._follow)

    def view(self) -> GraphView:
        """The graph as it is."""
        return GraphEditor(self.graph)

    @contextmanager
    def edit(self) -> Generator[GraphEdit]:
        """One transaction of the graph."""
        with self.graph.edit("mutation"):
            yield GraphEditor(self.graph)

    def reset(self, batch: int) -> None:
        """Begin ``batch`` episodes."""
        self._memory = np.zeros((batch, self.graph.memory_size), self.graph.dtype)

    def step(self, observations: NDArray[Any]) -> NDArray[Any]:
        """Outputs ``[B, n_out]`` for ``[B, n_in]``."""
        outputs, self._memory = self.graph.step(np.asarray(observations, self.graph.dtype), self._memory)
        return outputs

    def _follow(self, delta: GraphDelta) -> None:
        self._memory = delta.migration(self._memory)


def _old(name: str) -> int:
    del name
    return 10**6
