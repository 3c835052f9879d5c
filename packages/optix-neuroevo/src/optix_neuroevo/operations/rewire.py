"""Some edges for others."""

from __future__ import annotations

from collections.abc import Sequence

from optix_neuroevo.graph.neuron_graph import NeuronGraph
from optix_neuroevo.plan.probe import Probe


def rewire_edges(
    graph: NeuronGraph,
    drop: Sequence[str],
    grow: Sequence[tuple[str, str, int]],
    *,
    probe: Probe | None = None,
    tolerance: float | None = None,
) -> list[str]:
    """Remove edges and add as many or other ones of weight 0, all or none (Evci et al. 2020, arXiv:1911.11134).

    Promise: approximate; the change is that of the edges dropped, since grown ones begin at zero with fresh slots.

    Args:
        graph: Which graph.
        drop: Ids of edges.
        grow: (source, target, delay) of new edges.
        probe: See :mod:`optix_neuroevo.operations`.
        tolerance: See :mod:`optix_neuroevo.operations`.

    Returns:
        Ids of the new edges, in the order of ``grow``.

    Raises:
        OperationRefused: An output changed by more than the tolerance.
        ValueError: An edge does not exist, or cannot be added; nothing is changed.
    """
    with graph.edit("rewire_edges", promise="approximate", probe=probe, tolerance=tolerance) as edit:
        for edge_id in drop:
            graph.remove_edge(edge_id)
        added = [graph.add_edge(src, dst, 0.0, delay) for src, dst, delay in grow]
        edit.note(dropped=list(drop), grown=added)
    return added
