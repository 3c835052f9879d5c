"""A graph in the operations of :class:`optix_core.export.PolicyGraph`, which numpy and ONNX run.

A level is a linear operation on what lies before it. Scalar gated neurons are the recurrent layer of core with diagonal
matrices; core's GRU calls z what is kept, where ours is what is taken new, so that gate changes its sign.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from optix_core.acting.recurrent import RecurrentSpec
from optix_core.errors import ConfigError
from optix_neuroevo.plan.compile import Group, Plan
from optix_neuroevo.plan.numpy_step import Weights

if TYPE_CHECKING:
    from optix_core.export.graph import GraphBuilder
    from optix_neuroevo.graph.neuron_graph import NeuronGraph

Array = NDArray[Any]


def describe_graph(builder: GraphBuilder, graph: NeuronGraph, observation: str) -> str:
    """Append one step of a graph to a policy that is being put together.

    The graph's memory becomes a piece of the policy's memory, in the order of ``graph.state_layout()``.

    Args:
        builder: Of the policy.
        graph: Which graph, as it is now.
        observation: The value that the graph sees, float32 ``[N, n_in]``.

    Returns:
        The value of the outputs ``[N, n_out]``.

    Raises:
        ConfigError: It has a neuron type that core's operations cannot express.
    """
    plan = graph.plan()
    weights = Weights(graph, plan)
    weights.refresh()
    size, past = plan.layout.size, plan.n_history
    before = builder.memory(size) if size else ""
    known = [observation]
    if past:
        known.insert(0, builder.add("slice", before, start=0, stop=past))
    z = builder.add("concat", *known) if len(known) > 1 else observation
    states: list[str] = []
    places: list[int] = []
    for level in plan.levels:
        matrix = plan.matrix_of(weights.buffer, level).astype(np.float32)
        x = builder.add("linear", z, weights={"weight": matrix[:, 1:], "bias": matrix[:, 0]})
        parts: list[str] = []
        for g in level.groups:
            here = x
            if len(level.groups) > 1:
                here = builder.add("slice", x, start=g.start - level.start, stop=g.stop - level.start)
            value, state = _group(builder, g, here, before, weights.own.get(g.start), size)
            parts.append(value)
            if state:
                states.append(state)
                places += g.variables.reshape(-1).tolist()
        z = builder.add("concat", z, *parts)
    if size:
        _remember(builder, plan, before, z, states, places)
    return _pick(builder, z, plan.output_columns - 1, plan.n_columns - 1)


def _remember(
    builder: GraphBuilder, plan: Plan, before: str, z: str, states: list[str], places: list[int]
) -> None:
    """The memory after: past activations first, then state variables in the order of the layout."""
    parts: list[str] = []
    if plan.n_history:
        parts.append(_pick(builder, z, plan.shift - 1, plan.n_columns - 1))
    if states:
        together = builder.add("concat", *states) if len(states) > 1 else states[0]
        order = np.argsort(np.array(places), kind="stable")
        parts.append(_pick(builder, together, order, len(places)))
    builder.remember(before, builder.add("concat", *parts) if len(parts) > 1 else parts[0])


def _group(
    builder: GraphBuilder, g: Group, x: str, before: str, own: Array | None, size: int
) -> tuple[str, str]:
    """A group's activations, and its state after the step (or nothing)."""
    if g.type.is_point:
        return (x if g.activation == "linear" else builder.add("activation", x, name=g.activation)), ""
    how, n = g.type.recurrent_export, g.stop - g.start
    if how is None or own is None:
        raise ConfigError(
            f"neurons of type {g.type.name!r} cannot be exported: core's operations do not express them. Types that "
            "are a GRU, an LSTM or a morph neuron say so in NeuronType.recurrent_export"
        )
    if how == "morph":
        a, b = own.astype(np.float32)
        eye = np.eye(n, dtype=np.float32)
        y = builder.add("linear", x, weights={"weight": eye, "bias": b})
        both = builder.add("concat", y, builder.add("activation", y, name="tanh"))
        mixed = np.concatenate([np.diag(1 - a), np.diag(a)], axis=1).astype(np.float32)
        zero = np.zeros(n, np.float32)
        return builder.add("linear", both, weights={"weight": mixed, "bias": zero}), ""
    memory = _pick(builder, before, g.variables.reshape(-1), size)
    spec = RecurrentSpec(how, n, n)  # type: ignore[arg-type]
    value, after = builder.add_many(
        "recurrent", x, memory, outputs=2, weights={"parameters": _cell(spec, own)}, cell=how, input_size=n,
        hidden_size=n, layers=1,
    )  # fmt: skip
    return value, after


def _cell(spec: RecurrentSpec, own: Array) -> Array:
    """The flat parameters of a layer of independent scalar neurons."""
    if spec.cell == "gru":  # reset, update (which keeps), new
        wz, uz, bz, wr, ur, br, wn, un, bn = own
        gates = [(ur, wr, br), (-uz, -wz, -bz), (un, wn, bn)]
    else:  # input, forget, cell, output
        wf, uf, bf, wi, ui, bi, wg, ug, bg, wo, uo, bo = own
        gates = [(ui, wi, bi), (uf, wf, bf), (ug, wg, bg), (uo, wo, bo)]
    flat = spec.layout.zeros()
    views = spec.layout.views(flat)
    views["weight_ih_l0"][...] = np.concatenate([np.diag(u) for u, _, _ in gates])
    views["weight_hh_l0"][...] = np.concatenate([np.diag(w) for _, w, _ in gates])
    views["bias_ih_l0"][...] = np.concatenate([b for _, _, b in gates])
    return flat


def _pick(builder: GraphBuilder, x: str, columns: Array, width: int) -> str:
    """Some columns in some order: a slice if they are neighbours, else a product with zeros and ones (exact)."""
    if len(columns) and bool((np.diff(columns) == 1).all()):
        if len(columns) == width:
            return x
        return builder.add("slice", x, start=int(columns[0]), stop=int(columns[-1]) + 1)
    chosen = np.zeros((len(columns), width), np.float32)
    chosen[np.arange(len(columns)), columns] = 1.0
    return builder.add("linear", x, weights={"weight": chosen, "bias": np.zeros(len(columns), np.float32)})
