"""What a population inherits: a neuron graph as genes, and which genes of two graphs are the same.

Genes are matched by their ids, and equal changes of structure give equal ids: an id says where the gene sits.

- Neurons that the first graphs have keep the ids that their maker gave them.
- A neuron that a mutator added is named by a hash (BLAKE2b) of what it was made of: its type, activation and cell type,
  and the ids and delays of the neurons that it read and fed when it came.
- An edge is named by its ends and its delay.

A second gene of the same description in one genome is told apart by a count. So a mutation that happens twice, in two
genomes, generations apart or in two populations, gives the same innovation, whichever mutator made it, without a table
of innovations that would have to be kept (Stanley & Miikkulainen 2002, section 3.2, number them by such a table, which
they empty after every generation).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from optix_core.state import State
from optix_neuroevo.graph.neuron_graph import NeuronGraph


@dataclass(frozen=True, slots=True)
class NeuronGene:
    """A neuron: what it is (role, type, activation, cell type, region) and its numbers.

    A point neuron's number is its bias; those of other types are the type's parameters.
    """

    role: str
    type: str
    activation: str
    cell: str
    region: str
    numbers: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class EdgeGene:
    """An edge: its ends, its delay in steps, its weight in effect."""

    src: str
    dst: str
    delay: int
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Genome:
    """Genes by id, in the order in which they came.

    Attributes:
        neurons: Inputs and outputs are in the order of observations and outputs.
        edges: Between them.
        dale_mode: See :class:`~optix_neuroevo.graph.neuron_graph.NeuronGraph`.
    """

    neurons: Mapping[str, NeuronGene]
    edges: Mapping[str, EdgeGene]
    dale_mode: str = "clamp"

    @classmethod
    def of(cls, graph: NeuronGraph, known: Mapping[str, NeuronGene] | None = None) -> Genome:
        """The genes of a graph.

        Args:
            graph: It is not changed.
            known: Neurons whose ids are kept; others are named by where they sit. None: all ids are kept.
        """
        table = graph.edges
        slots = table.slots()
        slots = slots[np.argsort(table["uid"][slots], kind="stable")].tolist()
        weights = graph.effective_weights()
        found = [
            EdgeGene(
                graph.neuron_at(int(table["src"][s])), graph.neuron_at(int(table["dst"][s])),
                int(table["delay"][s]), float(weights[s]),
            )
            for s in slots
        ]  # fmt: skip
        names: dict[str, str] = {}
        neurons: dict[str, NeuronGene] = {}
        for name in graph.all_neuron_ids():
            gene = _neuron(graph, name)
            kept = known is None or name in known
            names[name] = name if kept else _free(_sits(name, gene, found, names), neurons)
            neurons[names[name]] = gene
        edges: dict[str, EdgeGene] = {}
        for was in found:
            edge = replace(was, src=names[was.src], dst=names[was.dst])
            edges[_free(f"{edge.src}>{edge.dst}@{edge.delay}", edges)] = edge
        return cls(neurons=neurons, edges=edges, dale_mode=graph.dale_mode)

    def express(self, seed: int = 0) -> NeuronGraph:
        """The graph that the genes describe, with the same ids; ``seed`` is that of neurons added to it later."""
        graph = NeuronGraph(self.dale_mode, seed=seed)
        for name, n in self.neurons.items():
            point = n.type == "point"
            bias = n.numbers[0] if point else 0.0
            graph.add_neuron(
                n.role, n.activation, name, cell_type=n.cell, neuron=n.type, region=n.region, bias=bias
            )
            if n.numbers and not point:
                graph.set_parameters(name, np.array(n.numbers))
        for name, e in self.edges.items():
            graph.add_edge(e.src, e.dst, e.weight, e.delay, name)
        return graph

    @property
    def n_hidden(self) -> int:
        """How many hidden neurons there are."""
        return sum(n.role == "hidden" for n in self.neurons.values())

    def to_state(self) -> State:
        """Plain data."""
        return {
            "dale_mode": self.dale_mode,
            "neurons": [
                [name, n.role, n.type, n.activation, n.cell, n.region, list(n.numbers)]
                for name, n in self.neurons.items()
            ],
            "edges": [[name, e.src, e.dst, e.delay, e.weight] for name, e in self.edges.items()],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Genome:
        """What :meth:`to_state` described."""
        return cls(
            neurons={
                str(name): NeuronGene(
                    str(role),
                    str(kind),
                    str(activation),
                    str(cell),
                    str(region),
                    tuple(float(v) for v in numbers),
                )
                for name, role, kind, activation, cell, region, numbers in state["neurons"]
            },
            edges={
                str(name): EdgeGene(str(src), str(dst), int(delay), float(weight))
                for name, src, dst, delay, weight in state["edges"]
            },
            dale_mode=str(state["dale_mode"]),
        )


def same_neuron(a: Genome, b: Genome, name: str) -> bool:
    """Whether both have a neuron of that id that means the same, so that its numbers can be compared."""
    x, y = a.neurons.get(name), b.neurons.get(name)
    if x is None or y is None:
        return False
    return (x.role, x.type, x.activation, x.cell) == (y.role, y.type, y.activation, y.cell)


def same_edge(a: Genome, b: Genome, name: str) -> bool:
    """Whether both have an edge of that id, whose source may have weights of the same signs."""
    x, y = a.edges.get(name), b.edges.get(name)
    return x is not None and y is not None and a.neurons[x.src].cell == b.neurons[y.src].cell


def distance(a: Genome, b: Genome, *, unmatched_weight: float, number_weight: float, small: int) -> float:
    """Compatibility distance ``c1 U / N + c3 W`` (Stanley & Miikkulainen 2002, equation 1); symmetric, 0 for equals.

    U counts edges that only one of them has: ids have no order in time, so excess and disjoint genes are not told
    apart. N is the number of edges of the larger one, or 1 if that is below ``small``. W is the mean absolute
    difference of numbers that both have: weights of matched edges, biases and parameters of matched neurons.
    """
    both = [name for name in a.edges if same_edge(a, b, name)]
    unmatched = len(a.edges) + len(b.edges) - 2 * len(both)
    larger = max(len(a.edges), len(b.edges))
    gaps = [abs(a.edges[name].weight - b.edges[name].weight) for name in both]
    for name, n in a.neurons.items():
        if n.role != "input" and same_neuron(a, b, name):
            gaps += [abs(x - y) for x, y in zip(n.numbers, b.neurons[name].numbers, strict=True)]
    number = sum(gaps) / len(gaps) if gaps else 0.0
    return unmatched_weight * unmatched / (1 if larger < small else larger) + number_weight * number


def _neuron(graph: NeuronGraph, name: str) -> NeuronGene:
    view, slot, kind = graph.get_neuron(name), graph.slot_of(name), graph.type_of(name)
    own = [float(graph.parameter_arrays["bias"].values[slot])] if kind.is_point else []
    if kind.parameters:
        own = graph.parameter_arrays[kind.name].values[slot].tolist()
    return NeuronGene(view.role, view.type_name, view.activation, view.cell_type, view.region, tuple(own))


def _sits(name: str, gene: NeuronGene, edges: list[EdgeGene], names: Mapping[str, str]) -> str:
    """An id from where a new neuron sits; neighbours that are new too and come after it are not told apart."""
    reads = sorted([names.get(e.src, ""), e.delay] for e in edges if e.dst == name)
    feeds = sorted([names.get(e.dst, ""), e.delay] for e in edges if e.src == name)
    text = json.dumps([gene.type, gene.activation, gene.cell, gene.region, reads, feeds])
    return "h" + hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _free(name: str, taken: Mapping[str, Any]) -> str:
    if name not in taken:
        return name
    count = 2
    while f"{name}#{count}" in taken:
        count += 1
    return f"{name}#{count}"
