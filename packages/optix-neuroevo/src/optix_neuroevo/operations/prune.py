"""Taking away edges and neurons, with what they gave folded into what stays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_neuroevo.graph.neuron_graph import NeuronGraph
from optix_neuroevo.operations.folding import add_constant, add_weight
from optix_neuroevo.plan.probe import Probe, record_activity

Array = NDArray[Any]
_RIDGE = 1e-6


def prune_edge(
    graph: NeuronGraph,
    edge_id: str,
    *,
    compensate: bool = False,
    probe: Probe | None = None,
    tolerance: float | None = None,
) -> None:
    """Remove an edge. Promise: approximate; the target's weighted input changes by w h_u.

    Args:
        graph: Which graph.
        edge_id: The edge.
        compensate: Add w times the source's mean activation over the probe to the target's bias (Dohare et al.
            2024, "Loss of plasticity in deep continual learning", do so when they replace units).
        probe: See :mod:`optix_neuroevo.operations`; ``compensate`` needs one.
        tolerance: See :mod:`optix_neuroevo.operations`.

    Raises:
        OperationRefused: An output changed by more than the tolerance.
        ValueError: There is no such edge, or no probe to compensate by.
    """
    edge = graph.get_edge(edge_id)
    if compensate and probe is None:
        raise ValueError("compensating needs a probe, over which the source's mean activation is taken")
    with graph.edit("prune_edge", promise="approximate", probe=probe, tolerance=tolerance) as edit:
        if compensate and probe is not None:
            mean = float(record_activity(graph, probe)[:, graph.slot_of(edge.src)].mean())
            add_constant(graph, edge.dst, edge.effective_weight * mean)
        graph.remove_edge(edge_id)
        edit.note(edge=edge_id, src=edge.src, dst=edge.dst, delay=edge.delay, weight=edge.effective_weight)


def prune_neuron(
    graph: NeuronGraph,
    neuron_id: str,
    redistribute: bool = True,
    *,
    probe: Probe | None = None,
    tolerance: float | None = None,
) -> None:
    """Remove a hidden neuron v and all its edges.

    With ``redistribute`` and a probe, h_v is predicted from what v read (ridge regression with a constant over the
    probe), and every target of v reads the prediction's parts instead. With ``redistribute`` and no probe, v is taken
    for linear: for u -> v (w1, d1) and v -> z (w2, d2) the target gets u -> z (w1 w2, d1 + d2), and w2 b in its bias.
    That is exact for a linear relay. What Dale's law forbids to pass from u to z is left out. Existing edges of the
    same delay take up the weights; no parallel ones are made.

    Promise: approximate. It is exact for a linear point neuron that reads one neuron, has no bias and no edge to
    itself, where the law forbids nothing; for one with more sources it is once their past has been seen anew.

    Args:
        graph: Which graph.
        neuron_id: v.
        redistribute: Fold it; otherwise it is just removed.
        probe: See :mod:`optix_neuroevo.operations`.
        tolerance: See :mod:`optix_neuroevo.operations`.

    Raises:
        OperationRefused: An output changed by more than the tolerance.
        ValueError: v is an input or output neuron.
    """
    view = graph.get_neuron(neuron_id)
    if view.role != "hidden":
        raise ValueError(f"{neuron_id!r} is an {view.role} neuron; only hidden neurons can be pruned")
    into = [e for e in graph.edges_into(neuron_id) if e.src != neuron_id]
    out = [e for e in graph.edges_from(neuron_id) if e.dst != neuron_id]
    exact = view.type_name == "point" and view.activation == "linear"
    with graph.edit("prune_neuron", promise="approximate", probe=probe, tolerance=tolerance) as edit:
        if redistribute:
            if probe is not None and not exact:
                parts, constant, error = _predicted(graph, neuron_id, probe)
                edit.note(residual=error)
            else:
                parts: dict[tuple[str, int], float] = {}
                for e in into:
                    key = (e.src, e.delay)
                    parts[key] = parts.get(key, 0.0) + e.effective_weight
                constant = view.bias.item()
            left_out = 0
            for target in out:
                w = target.effective_weight
                add_constant(graph, target.dst, w * constant)
                for (src, delay), part in parts.items():
                    # a path u -> v -> z within the step was there before, so u -> z closes no cycle
                    added = add_weight(graph, src, target.dst, delay + target.delay, w * part, strict=False)
                    left_out += added is None
            edit.note(left_out=left_out)
            if exact and len(into) == 1 and into[0].effective_weight and not view.bias.item():
                # what v remembered of its only source goes back to where the longer edges will look for it
                (e,) = into
                edit.continue_history(
                    e.src, neuron_id, shift=-e.delay, scale=1.0 / e.effective_weight, fill_only=True
                )
        graph.remove_neuron(neuron_id)
        edit.note(neuron=neuron_id, redistributed=redistribute)


def _predicted(
    graph: NeuronGraph, neuron_id: str, probe: Probe
) -> tuple[dict[tuple[str, int], float], float, float]:
    """Coefficients by (source, delay), the constant, and the root mean square of what is left over."""
    activity = record_activity(graph, probe).astype(np.float64)
    slot = graph.slot_of(neuron_id)
    keys = sorted({(e.src, e.delay) for e in graph.edges_into(neuron_id) if e.src != neuron_id})
    steps, _, n = activity.shape
    deepest = max((delay for _, delay in keys), default=0)
    valid = np.zeros((steps, n), np.bool_)
    valid[min(deepest, steps) :] = True
    if probe.starts is not None:  # rows whose past lies before a start are left out
        since = np.full(n, steps)
        for t in range(steps):
            since = np.where(probe.starts[t], 0, since + 1)
            valid[t] &= since >= deepest
    columns = [np.roll(activity[:, graph.slot_of(src)], delay, axis=0)[valid] for src, delay in keys]
    x = np.stack([*columns, np.ones(int(valid.sum()))], axis=1)
    y = activity[:, slot][valid]
    if len(y) < x.shape[1]:  # too little to fit: the mean alone
        mean = float(activity[:, slot].mean())
        return {}, mean, float(activity[:, slot].std())
    penalty = _RIDGE * np.trace(x.T @ x) / x.shape[1] * np.eye(x.shape[1])
    penalty[-1, -1] = 0.0
    found = np.linalg.solve(x.T @ x + penalty + 1e-12 * np.eye(x.shape[1]), x.T @ y)
    error = float(np.sqrt(np.mean((x @ found - y) ** 2)))
    return dict(zip(keys, found[:-1].tolist(), strict=True)), float(found[-1]), error
