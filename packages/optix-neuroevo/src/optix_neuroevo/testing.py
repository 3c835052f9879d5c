"""Graphs to test mutators on: small ones of all kinds of neurons, with delays and under Dale's law."""

from __future__ import annotations

from typing import Any

import numpy as np

from optix_core.testing import check_mutator as _check_mutator
from optix_core.testing.report import Report
from optix_neuroevo.graph.neuron_graph import NeuronGraph
from optix_neuroevo.mutators.editing import RunningGraph

TYPES = ("point", "trainable_gru", "lstm", "point", "gru", "trainable_lstm")


def example_graph(seed: int, *, dale_mode: str | None = None, dtype: Any = np.float64) -> NeuronGraph:
    """A random graph: 3 inputs, 6 hidden neurons of all types, 2 outputs, delays of 0 to 3, one idle neuron.

    Args:
        seed: One seed, one graph.
        dale_mode: None: odd seeds are under Dale's law, in turn in either mode.
        dtype: Of all numbers.
    """
    rng = np.random.default_rng(seed)
    dale = dale_mode is not None or seed % 2 == 1
    mode = dale_mode or ("clamp", "softplus")[(seed // 2) % 2]
    graph = NeuronGraph(mode, dtype=dtype, seed=seed)
    ids = [graph.add_neuron("input", "linear") for _ in range(3)]
    for k, kind in enumerate(TYPES):
        cell = ("excitatory", "inhibitory", "any")[k % 3] if dale else "any"
        ids.append(
            graph.add_neuron(
                activation="tanh", cell_type=cell, neuron=kind, bias=float(rng.normal(scale=0.3))
            )
        )
    ids += [graph.add_neuron("output", "linear") for _ in range(2)]
    for j, dst in enumerate(ids[3:], start=3):
        for i, src in enumerate(ids):
            delay = int(rng.integers(1, 4)) if i >= j or rng.random() < 0.3 else 0
            if rng.random() < (0.7 if i < j else 0.3):
                weight = float(rng.normal(scale=0.6))
                sign = {"excitatory": 1.0, "inhibitory": -1.0}.get(graph.cell_type_of(src))
                graph.add_edge(src, dst, weight if sign is None else sign * abs(weight), delay)
    idle = graph.add_neuron()
    graph.add_edge(ids[0], idle, 1e-9)
    graph.add_edge(idle, ids[-1], -1e-9, 1)
    return graph


def example_graphs(seed: int) -> RunningGraph:
    """:func:`example_graph` as the conformance kit asks for it, in float64."""
    return RunningGraph(example_graph(seed))


def check_mutator(mutator: Any, **kwargs: Any) -> Report:
    """The checks of :func:`optix_core.testing.check_mutator`, on neuron graphs."""
    return _check_mutator(mutator, graphs=example_graphs, **kwargs)
