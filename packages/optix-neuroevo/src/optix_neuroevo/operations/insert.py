"""A neuron in the middle of an edge."""

from __future__ import annotations

from optix_neuroevo.graph.neuron_graph import NeuronGraph
from optix_neuroevo.plan.probe import Probe


def insert_neuron_on_edge(
    graph: NeuronGraph,
    edge_id: str,
    neuron_id: str | None = None,
    *,
    neuron: str = "point",
    probe: Probe | None = None,
    tolerance: float | None = None,
) -> str:
    """Replace an edge (u -> v, w, d) by u -> r with delay d // 2 and r -> v with the rest. Promise: exact.

    The relay r passes on what it gets, and it remembers what it would have got: its past is that of u. Its sign is
    Dale's: behind an inhibitory u the first edge has weight -1, r is excitatory and the second edge has weight |w|.
    Otherwise the first has weight 1, the second w, and r is of u's cell type.

    Args:
        graph: Which graph.
        edge_id: The edge; it is removed.
        neuron_id: Id of r; made up if None.
        neuron: ``"point"``: r stays linear, which adds no capacity. ``"morph"``: learning can make it a tanh.
        probe: See :mod:`optix_neuroevo.operations`.
        tolerance: See :mod:`optix_neuroevo.operations`.

    Returns:
        Id of r.

    Raises:
        ValueError: There is no such edge, or the relay is of another type.
    """
    if neuron not in {"point", "morph"}:
        raise ValueError(
            f"a relay is a point or a morph neuron; a {neuron!r} neuron does not pass on what it gets"
        )
    edge = graph.get_edge(edge_id)
    cell = graph.cell_type_of(edge.src)
    turned = cell == "inhibitory"
    first = edge.delay // 2
    with graph.edit("insert_neuron_on_edge", promise="exact", probe=probe, tolerance=tolerance) as edit:
        relay = graph.add_neuron(
            "hidden", "linear", neuron_id, cell_type="excitatory" if turned else cell, neuron=neuron,
            region=graph.get_neuron(edge.src).region,
        )  # fmt: skip
        graph.remove_edge(edge_id)
        graph.add_edge(edge.src, relay, -1.0 if turned else 1.0, first)
        onward = graph.add_edge(
            relay, edge.dst, -edge.effective_weight if turned else edge.effective_weight, edge.delay - first
        )
        edit.continue_history(relay, edge.src, shift=first, scale=-1.0 if turned else 1.0)
        edit.transfer("theta", graph.edge_slot_of(onward), edge.slot)
        edit.note(edge=edge_id, relay=relay, src=edge.src, dst=edge.dst, delay=edge.delay)
    return relay
