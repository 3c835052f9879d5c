"""Additions that compute nothing until learning moves their weights away from zero."""

from __future__ import annotations

from optix_neuroevo.graph.neuron_graph import NeuronGraph
from optix_neuroevo.plan.probe import Probe


def add_input_neuron(
    graph: NeuronGraph,
    activation: str = "linear",
    neuron_id: str | None = None,
    *,
    probe: Probe | None = None,
    tolerance: float | None = None,
) -> str:
    """Add an input, last in the observation, with an edge of weight 0 to every hidden and output neuron. Exact.

    Args:
        graph: Which graph.
        activation: Stored, but an input's activation is its element of the observation.
        neuron_id: Its id; made up if None.
        probe: See :mod:`optix_neuroevo.operations`; its observations lack the new input, which is zero there.
        tolerance: See :mod:`optix_neuroevo.operations`.

    Returns:
        Its id.
    """
    with graph.edit("add_input_neuron", promise="exact", probe=probe, tolerance=tolerance) as edit:
        added = graph.add_neuron("input", activation, neuron_id)
        for target in [*graph.hidden_ids, *graph.output_ids]:
            graph.add_edge(added, target, 0.0)
        edit.note(neuron=added)
    return added


def add_free_edge(
    graph: NeuronGraph,
    src: str,
    dst: str,
    delay: int = 1,
    edge_id: str | None = None,
    *,
    probe: Probe | None = None,
    tolerance: float | None = None,
) -> str:
    """Add an edge of weight 0, in both Dale modes exactly 0 and with a gradient. Promise: exact.

    Returns:
        Its id.

    Raises:
        ValueError: As :meth:`NeuronGraph.add_edge` does.
    """
    with graph.edit("add_free_edge", promise="exact", probe=probe, tolerance=tolerance) as edit:
        added = graph.add_edge(src, dst, 0.0, delay, edge_id)
        edit.note(edge=added, src=src, dst=dst, delay=delay)
    return added
