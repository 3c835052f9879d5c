"""One neuron in the place of two that do the same."""

from __future__ import annotations

import numpy as np

from optix_neuroevo.graph.delta import OperationRefused
from optix_neuroevo.graph.neuron_graph import NeuronGraph
from optix_neuroevo.operations.folding import add_constant, add_weight
from optix_neuroevo.plan.probe import Probe, record_activity


def merge_neurons(
    graph: NeuronGraph,
    a: str,
    b: str,
    *,
    probe: Probe | None = None,
    tolerance: float | None = None,
) -> str:
    """Let a take over what b gives, and remove b. Promise: approximate (exact if h_b = s h_a + c always).

    With a probe, s and c are the least-squares fit of b's activation by a's: targets of b read a with weight s w, and
    w c goes into their bias. That merges scaled, shifted and (for ``"any"`` neurons) opposite neurons too. Without a
    probe the two are taken for twins: s = 1, c = 0, and the bias of point neurons is averaged. a keeps its own
    incoming edges. What a read from b, it reads from itself, for which the edge needs a delay.

    Args:
        graph: Which graph.
        a: A hidden neuron, which stays.
        b: Another of the same type, which goes.
        probe: See :mod:`optix_neuroevo.operations`.
        tolerance: See :mod:`optix_neuroevo.operations`.

    Returns:
        a.

    Raises:
        OperationRefused: Dale's law forbids it, an edge of delay 0 would close a cycle, or an output changed by more
            than the tolerance.
        ValueError: They are the same neuron, not both hidden, or of different types.
    """
    if a == b:
        raise ValueError(f"{a!r} cannot be merged with itself")
    first, second = graph.get_neuron(a), graph.get_neuron(b)
    if first.role != "hidden" or second.role != "hidden":
        raise ValueError(f"only hidden neurons can be merged; {a!r} is {first.role}, {b!r} is {second.role}")
    if first.type_name != second.type_name:
        raise ValueError(f"{a!r} is a {first.type_name} neuron and {b!r} a {second.type_name} neuron")
    scale, constant, residual = (1.0, 0.0, None) if probe is None else _fit(graph, a, b, probe)
    with graph.edit("merge_neurons", promise="approximate", probe=probe, tolerance=tolerance) as edit:
        # edges between the two become edges of a to itself: b in the place of a where it is read ...
        for e in graph.edges_from(b):
            target = a if e.dst == b else e.dst
            if e.dst == b:
                continue  # ... but not what b read from itself, which ends with b
            weight = e.effective_weight * scale
            if e.delay == 0 and graph.would_cycle(a, target):
                raise OperationRefused(
                    f"{target} reads {b} within the step, but reading {a} there would close a cycle"
                )
            add_weight(graph, a, target, e.delay, weight)
            if not add_constant(graph, target, e.effective_weight * constant):
                raise OperationRefused(
                    f"a constant cannot be folded into {target}, a {graph.type_of(target).name}"
                )
        if probe is None and graph.type_of(a).is_point:
            graph.set_bias(a, 0.5 * (first.bias.item() + second.bias.item()))
        if scale != 0.0:
            edit.continue_history(a, b, scale=1.0 / scale, fill_only=True)
        graph.remove_neuron(b)
        edit.note(kept=a, removed=b, scale=scale, constant=constant, residual=residual)
    return a


def _fit(graph: NeuronGraph, a: str, b: str, probe: Probe) -> tuple[float, float, float]:
    """Slope, offset and root mean square residual of b's activation by a's."""
    activity = record_activity(graph, probe).astype(np.float64)
    x, y = activity[:, graph.slot_of(a)].ravel(), activity[:, graph.slot_of(b)].ravel()
    spread = float(x.var())
    slope = float(((x - x.mean()) * (y - y.mean())).mean()) / spread if spread > 1e-16 else 0.0
    offset = float(y.mean() - slope * x.mean())
    return slope, offset, float(np.sqrt(np.mean((slope * x + offset - y) ** 2)))
