"""Graphs to evaluate: genomes of one structure take turns in one compiled graph, since most differ in numbers only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_neuroevo.graph.neuron_graph import NeuronGraph
from optix_neuroevo.population.genome import Genome

_KEPT = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """A graph, the structure version that it was made with, and the slots of neurons and edges in a genome's order."""

    graph: NeuronGraph
    structure: int
    neurons: tuple[int, ...]
    edges: NDArray[np.int64]


class Lending:
    """Lends out the graph of a genome until the next call."""

    def __init__(self) -> None:
        self._kept: dict[Any, _Kept] = {}

    def __call__(self, genome: Genome, seed: int) -> NeuronGraph:
        """A graph that computes exactly what ``genome.express(seed)`` does, without a past.

        A graph that its borrower changed the structure of is not lent again.
        """
        if genome.dale_mode != "clamp":  # elsewhere how a weight is stored depends on its value
            return genome.express(seed)
        key = (
            tuple(genome.edges),
            tuple((k, n.role, n.type, n.activation, n.cell, n.region) for k, n in genome.neurons.items()),
        )
        kept = self._kept.get(key)
        if kept is not None and kept.graph.structure_version == kept.structure:
            self._fill(kept, genome)
            return kept.graph
        graph = genome.express(seed)
        if len(self._kept) >= _KEPT:
            self._kept.clear()
        self._kept[key] = _Kept(
            graph=graph,
            structure=graph.structure_version,
            neurons=tuple(graph.slot_of(name) for name in genome.neurons),
            edges=np.array([graph.edge_slot_of(name) for name in genome.edges], np.int64),
        )
        return graph

    @staticmethod
    def _fill(kept: _Kept, genome: Genome) -> None:
        arrays = kept.graph.parameter_arrays
        arrays["theta"].values[kept.edges] = [e.weight for e in genome.edges.values()]
        for slot, n in zip(kept.neurons, genome.neurons.values(), strict=True):
            if n.numbers:
                arrays["bias" if n.type == "point" else n.type].values[slot] = (
                    n.numbers[0] if n.type == "point" else n.numbers
                )
        kept.graph.touch()
        kept.graph.reset_state()
