"""Putting into other places what a neuron gave: constants into biases, weights onto existing edges."""

from __future__ import annotations

from optix_neuroevo.graph import weights
from optix_neuroevo.graph.delta import OperationRefused
from optix_neuroevo.graph.neuron_graph import NeuronGraph
from optix_neuroevo.neurons.prototypes import CELL_TYPES


def add_constant(graph: NeuronGraph, neuron_id: str, constant: float) -> bool:
    """Add a constant to a neuron's weighted input by changing its bias or parameters.

    Returns:
        Whether its type allows that.
    """
    if constant == 0.0:
        return True
    view, kind = graph.get_neuron(neuron_id), graph.type_of(neuron_id)
    if kind.is_point:
        graph.set_bias(neuron_id, view.bias.item() + constant)
        return True
    if view.parameters is None:
        return False
    values = view.parameters.data.copy()
    if kind.name == "morph":
        values[1] += constant
    elif kind.input_parameters is not None:
        for factor, added in kind.input_parameters:
            values[added] += values[factor] * constant
    else:
        return False
    graph.set_parameters(neuron_id, values)
    return True


def add_weight(
    graph: NeuronGraph, src: str, dst: str, delay: int, weight: float, *, strict: bool = True
) -> str | None:
    """Add to the weight with which ``dst`` reads ``src``: on the edge that there is, or on a new one.

    Args:
        graph: Which graph.
        src: Where it begins.
        dst: Where it ends.
        delay: Its delay.
        weight: What to add.
        strict: Refuse what Dale's law forbids; else come as close to it as the law allows.

    Returns:
        Id of the edge; None if nothing could be added.

    Raises:
        OperationRefused: The sum has the wrong sign.
    """
    existing = graph.edges_between(src, dst, delay)
    total = weight + (existing[0].effective_weight if existing else 0.0)
    cell = CELL_TYPES.index(graph.cell_type_of(src))
    if not weights.allowed(total, cell):
        if strict:
            raise OperationRefused(
                f"{src} -> {dst} would need the weight {total:.3g}, but {src} is {CELL_TYPES[cell]} (Dale's law)"
            )
        if not existing:
            return None
        total = 0.0
    if existing:
        graph.set_weight(existing[0].edge_id, total)
        return existing[0].edge_id
    return graph.add_edge(src, dst, total, delay)
