"""Two neurons in the place of one."""

from __future__ import annotations

import numpy as np

from optix_neuroevo.graph.neuron_graph import NeuronGraph
from optix_neuroevo.plan.probe import Probe


def split_neuron(
    graph: NeuronGraph,
    neuron_id: str,
    *,
    rng: np.random.Generator | None = None,
    share: float = 0.5,
    new_id: str | None = None,
    probe: Probe | None = None,
    tolerance: float | None = None,
) -> tuple[str, str]:
    """Add a twin of v that gets what v gets, and divide what v gives between the two. Promise: exact.

    The twin has the same type, activation, cell type, bias, parameters, memory and incoming edges. Of every outgoing
    weight w, v keeps a share and the twin gets the rest. With equal shares everywhere the twins would get equal
    gradients for ever; shares drawn per edge (Chen et al. 2016, arXiv:1511.05641, leave symmetry breaking to noise)
    give them different ones without changing the function. Edges of v to itself are both: four edges come of one.

    Args:
        graph: Which graph.
        neuron_id: v, a hidden neuron.
        rng: Draws v's share of every outgoing edge from [0.2, 0.8].
        share: v's share of every outgoing edge without ``rng``, in (0, 1).
        new_id: Id of the twin; made up if None.
        probe: See :mod:`optix_neuroevo.operations`.
        tolerance: See :mod:`optix_neuroevo.operations`.

    Returns:
        Ids of v and of the twin.

    Raises:
        ValueError: v is no hidden neuron, or the share is out of range.
    """
    if not 0.0 < share < 1.0:
        raise ValueError(f"share must be in (0, 1); got {share}")
    v = graph.get_neuron(neuron_id)
    if v.role != "hidden":
        raise ValueError(f"{neuron_id!r} is an {v.role} neuron; only hidden neurons can be split")

    def drawn() -> float:
        return share if rng is None else float(rng.uniform(0.2, 0.8))

    into = [e for e in graph.edges_into(neuron_id) if e.src != neuron_id]
    own = graph.edges_between(neuron_id, neuron_id)
    out = [e for e in graph.edges_from(neuron_id) if e.dst != neuron_id]
    with graph.edit("split_neuron", promise="exact", probe=probe, tolerance=tolerance) as edit:
        twin = graph.add_neuron(
            "hidden", v.activation, new_id, max_delay=int(graph.neurons["keep"][v.slot]),
            cell_type=v.cell_type, neuron=v.type_name, region=v.region, bias=v.bias.item(),
        )  # fmt: skip
        slot = graph.slot_of(twin)
        edit.transfer("bias", slot, v.slot)
        if v.parameters is not None:
            graph.set_parameters(twin, v.parameters.data.copy())
            edit.transfer(v.type_name, slot, v.slot)
        for e in into:
            added = graph.add_edge(e.src, twin, e.effective_weight, e.delay)
            edit.transfer("theta", graph.edge_slot_of(added), e.slot)
        for e in out:
            kept, w = drawn(), e.effective_weight
            graph.set_weight(e.edge_id, kept * w)
            added = graph.add_edge(twin, e.dst, w - kept * w, e.delay)
            edit.transfer("theta", graph.edge_slot_of(added), e.slot)
        for e in own:
            w = e.effective_weight
            kept, other = drawn(), drawn()
            graph.set_weight(e.edge_id, kept * w)
            for src, dst, part in (
                (twin, neuron_id, w - kept * w),
                (neuron_id, twin, other * w),
                (twin, twin, w - other * w),
            ):
                added = graph.add_edge(src, dst, part, e.delay)
                edit.transfer("theta", graph.edge_slot_of(added), e.slot)
        edit.continue_history(twin, neuron_id)
        edit.continue_variables(twin, neuron_id)
        edit.note(neuron=neuron_id, twin=twin)
    return neuron_id, twin
