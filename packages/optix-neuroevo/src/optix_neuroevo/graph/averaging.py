"""Averaging graphs of different topology: what has the same id (and means the same) is averaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from optix_core.state import State
from optix_neuroevo.graph.neuron_graph import NeuronGraph


def average_graphs(states: Sequence[Mapping[str, Any]], weights: Sequence[float] | None = None) -> State:
    """The first state, with its parameters averaged with those of the others.

    Neurons are the same if id, type, activation and role are; edges if id, both ends, delay and cell type of the
    source are. What only some states have is averaged over those, so the result has the first one's topology, and a
    neuron that only it has stays as it is. Edges are averaged by effective weight, whatever form they are stored in.

    Args:
        states: Of ``graph.state_dict()``; the first one says what there is.
        weights: One for each, not negative, with a positive sum; None: equal.

    Raises:
        ValueError: There are no states, or the weights don't fit.
    """
    shares = np.ones(len(states)) if weights is None else np.asarray(weights, np.float64)
    if not len(states) or shares.shape != (len(states),) or (shares < 0).any() or shares[0] <= 0:
        raise ValueError(
            "averaging needs at least one graph and one weight for each, not negative, the first one positive"
        )
    graphs = [NeuronGraph.from_state(state) for state in states]
    result = graphs[0]
    for name in result.all_neuron_ids():
        others = [(s, g) for s, g in zip(shares, graphs, strict=True) if _same_neuron(result, g, name)]
        total = sum(s for s, _ in others)
        slot, kind = result.slot_of(name), result.type_of(name)
        for array in ("bias", *([kind.name] if kind.parameters else [])):
            mean = sum(s / total * g.parameter_arrays[array].values[g.slot_of(name)] for s, g in others)
            result.parameter_arrays[array].values[slot] = mean
    for name in result.all_edge_ids():
        others = [(s, g) for s, g in zip(shares, graphs, strict=True) if _same_edge(result, g, name)]
        total = sum(s for s, _ in others)
        if len(others) > 1:
            result.set_weight(name, float(sum(s / total * g.effective_weight(name) for s, g in others)))
    result.touch()
    return result.state_dict()


def _same_neuron(a: NeuronGraph, b: NeuronGraph, name: str) -> bool:
    if a is b:
        return True
    if not b.has_neuron(name):
        return False
    x, y = a.get_neuron(name), b.get_neuron(name)
    return (x.role, x.type_name, x.activation) == (y.role, y.type_name, y.activation)


def _same_edge(a: NeuronGraph, b: NeuronGraph, name: str) -> bool:
    if a is b:
        return True
    if not b.has_edge(name):
        return False
    x, y = a.get_edge(name), b.get_edge(name)
    return (x.src, x.dst, x.delay, a.cell_type_of(x.src)) == (y.src, y.dst, y.delay, b.cell_type_of(y.src))
