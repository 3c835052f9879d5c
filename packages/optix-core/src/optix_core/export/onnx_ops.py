"""The operations of a :class:`~optix_core.export.graph.PolicyGraph` as ONNX (opset 17), and whole graphs as models.

Written with ``onnx.helper`` alone, so that every framework's policies come out the same way, recurrent ones included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.acting.recurrent import RecurrentSpec
from optix_core.errors import ConfigError
from optix_core.export.graph import Node, PolicyGraph

OPSET = 17

try:
    import onnx
    from onnx import TensorProto, helper, numpy_helper
except ImportError as error:
    raise ConfigError(
        "ONNX export needs the packages onnx and onnxruntime: pip install 'optix-core[onnx]'",
        code="E-NO-ONNX",
    ) from error

Array = NDArray[Any]


class Writer:
    """Collects ONNX nodes and constants."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._count = 0

    def constant(self, array: Array) -> str:
        """An array as a constant; its name."""
        name = self._fresh("c")
        self.constants.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def emit(self, op: str, *inputs: str, into: str | None = None, **attributes: Any) -> str:
        """One ONNX operation with one output; its name."""
        name = into or self._fresh("v")
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def cast(self, x: str, dtype: Any, into: str | None = None) -> str:
        """``x`` in a numpy dtype."""
        return self.emit("Cast", x, into=into, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def affine(self, x: str, weight: Array, bias: Array, into: str | None = None) -> str:
        """``W x + b``."""
        return self.emit("Gemm", x, self.constant(weight), self.constant(bias), into=into, transB=1)

    def split(self, x: str, parts: int, width: int) -> list[str]:
        """``parts`` pieces of ``width`` columns."""
        names = [self._fresh("v") for _ in range(parts)]
        sizes = self.constant(np.full(parts, width, np.int64))
        self.nodes.append(helper.make_node("Split", [x, sizes], names, axis=1))
        return names

    def _fresh(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count}"


@dataclass(frozen=True, slots=True)
class Op:
    """One operation of a graph: names of its inputs x and outputs y, attributes a, weights w."""

    x: Sequence[str]
    y: Sequence[str]
    a: Mapping[str, Any]
    w: Mapping[str, Array]


Operation = Callable[[Writer, Op], None]


def _cast(m: Writer, o: Op) -> None:
    m.cast(o.x[0], np.float32, o.y[0])


def _scale(m: Writer, o: Op) -> None:
    m.emit("Div", o.x[0], m.constant(np.float32(o.a["divisor"])), into=o.y[0])  # pyright: ignore[reportArgumentType]


def _normalize(m: Writer, o: Op) -> None:
    centred = m.emit("Sub", m.cast(o.x[0], np.float64), m.constant(np.asarray(o.w["mean"], np.float64)))
    scaled = m.emit("Div", centred, m.constant(np.asarray(o.w["std"], np.float64)))
    clip = np.asarray(o.a["clip"], np.float64)
    m.cast(m.emit("Clip", scaled, m.constant(-clip), m.constant(clip)), np.float32, o.y[0])


def _flatten(m: Writer, o: Op) -> None:
    m.emit("Flatten", o.x[0], into=o.y[0], axis=1)


def _channels_first(m: Writer, o: Op) -> None:
    m.emit("Transpose", o.x[0], into=o.y[0], perm=[0, 3, 1, 2])


def _one_hot(m: Writer, o: Op) -> None:
    sizes, starts = o.a["n"], np.broadcast_to(np.asarray(o.a["start"], np.int64), (len(o.a["n"]),))
    wide = m.emit("Reshape", m.cast(o.x[0], np.int64), m.constant(np.array([-1, len(sizes)], np.int64)))
    pieces: list[str] = []
    for i, (n, start) in enumerate(zip(sizes, starts, strict=True)):
        column = m.emit("Gather", wide, m.constant(np.array(i, np.int64)), axis=1)
        choice = m.emit("Sub", column, m.constant(np.array(start, np.int64)))
        pieces.append(
            m.emit(
                "OneHot",
                choice,
                m.constant(np.array(n, np.int64)),
                m.constant(np.array([0, 1], np.float32)),
                axis=-1,
            )
        )
    m.emit("Concat", *pieces, into=o.y[0], axis=-1)


def _conv2d(m: Writer, o: Op) -> None:
    high, wide = o.a["padding"]
    m.emit(
        "Conv",
        o.x[0],
        m.constant(o.w["weight"]),
        m.constant(o.w["bias"]),
        into=o.y[0],
        strides=list(o.a["stride"]),
        pads=[high, wide, high, wide],
    )


def _linear(m: Writer, o: Op) -> None:
    m.affine(o.x[0], o.w["weight"], o.w["bias"], o.y[0])


def _activation(m: Writer, o: Op) -> None:
    name = o.a["name"]
    plain = {"tanh": "Tanh", "relu": "Relu", "elu": "Elu", "sigmoid": "Sigmoid", "softplus": "Softplus"}
    if name in plain:
        m.emit(plain[name], o.x[0], into=o.y[0])
    elif name == "silu":
        m.emit("Mul", o.x[0], m.emit("Sigmoid", o.x[0]), into=o.y[0])
    else:  # gelu
        erf = m.emit("Erf", m.emit("Div", o.x[0], m.constant(np.array(np.sqrt(2.0), np.float32))))
        half = m.emit("Mul", o.x[0], m.constant(np.array(0.5, np.float32)))
        m.emit("Mul", half, m.emit("Add", erf, m.constant(np.array(1.0, np.float32))), into=o.y[0])


def _layer_norm(m: Writer, o: Op) -> None:
    m.emit(
        "LayerNormalization",
        o.x[0],
        m.constant(o.w["weight"]),
        m.constant(o.w["bias"]),
        into=o.y[0],
        axis=-1,
        epsilon=float(o.a["epsilon"]),
    )


def _concat(m: Writer, o: Op) -> None:
    m.emit("Concat", *o.x, into=o.y[0], axis=-1)


def _slice(m: Writer, o: Op) -> None:
    ends = [m.constant(np.array([o.a[name]], np.int64)) for name in ("start", "stop")]
    m.emit("Slice", o.x[0], *ends, m.constant(np.array([1], np.int64)), into=o.y[0])


def _recurrent(m: Writer, o: Op) -> None:
    a = o.a
    spec = RecurrentSpec(a["cell"], a["input_size"], a["hidden_size"], a["layers"])
    arrays, width = spec.layout.views(o.w["parameters"]), spec.hidden_size
    pieces = m.split(o.x[1], spec.memory_size // width, width)  # h of every layer, then c of every layer
    hidden, cells = pieces[: spec.layers], pieces[spec.layers :]
    x, after = o.x[0], list(pieces)
    for i in range(spec.layers):
        from_input = m.affine(x, arrays[f"weight_ih_l{i}"], arrays[f"bias_ih_l{i}"])
        from_memory = m.affine(hidden[i], arrays[f"weight_hh_l{i}"], arrays[f"bias_hh_l{i}"])
        if spec.cell == "gru":
            x = _gru(m, from_input, from_memory, hidden[i], width)
        else:
            x, after[spec.layers + i] = _lstm(m, from_input, from_memory, cells[i], width)
        after[i] = x
    m.emit("Identity", x, into=o.y[0])
    m.emit("Concat", *after, into=o.y[1], axis=1)


def _gru(m: Writer, from_input: str, from_memory: str, hidden: str, width: int) -> str:
    given, remembered = m.split(from_input, 3, width), m.split(from_memory, 3, width)
    reset, update = (
        m.emit("Sigmoid", m.emit("Add", i, h)) for i, h in zip(given[:2], remembered[:2], strict=True)
    )
    new = m.emit("Tanh", m.emit("Add", given[2], m.emit("Mul", reset, remembered[2])))
    # (1 - z) n + z h = n + z (h - n)
    return m.emit("Add", new, m.emit("Mul", update, m.emit("Sub", hidden, new)))


def _lstm(m: Writer, from_input: str, from_memory: str, cell: str, width: int) -> tuple[str, str]:
    write, keep, new, show = m.split(m.emit("Add", from_input, from_memory), 4, width)
    kept = m.emit("Mul", m.emit("Sigmoid", keep), cell)
    after = m.emit("Add", kept, m.emit("Mul", m.emit("Sigmoid", write), m.emit("Tanh", new)))
    return m.emit("Mul", m.emit("Sigmoid", show), m.emit("Tanh", after)), after


def _dueling(m: Writer, o: Op) -> None:
    k = int(o.a["width"])
    value = m.emit("Reshape", o.x[0], m.constant(np.array([-1, 1, k], np.int64)))
    advantage = m.emit("Reshape", o.x[1], m.constant(np.array([-1, int(o.a["actions"]), k], np.int64)))
    centred = m.emit("Sub", advantage, m.emit("ReduceMean", advantage, axes=[1], keepdims=1))
    m.emit("Flatten", m.emit("Add", value, centred), into=o.y[0], axis=1)


def _expectation(m: Writer, o: Op) -> None:
    atoms = np.asarray(o.w["atoms"], np.float32)
    shape = m.constant(np.array([-1, int(o.a["actions"]), len(atoms)], np.int64))
    weights = m.emit("Softmax", m.emit("Reshape", o.x[0], shape), axis=-1)
    m.emit("MatMul", weights, m.constant(atoms), into=o.y[0])


def _mask(m: Writer, o: Op) -> None:
    m.emit("Where", o.x[1], o.x[0], m.constant(np.array(-np.inf, np.float32)), into=o.y[0])


def _argmax(m: Writer, o: Op) -> None:
    best = m.emit("ArgMax", o.x[0], axis=1, keepdims=0)
    m.emit("Add", best, m.constant(np.array(o.a["start"], np.int64)), into=o.y[0])


def _multi_argmax(m: Writer, o: Op) -> None:
    ends = np.cumsum(o.a["nvec"])
    pieces: list[str] = []
    for stop, size in zip(ends, o.a["nvec"], strict=True):
        bounds = [m.constant(np.array([v], np.int64)) for v in (stop - size, stop, 1)]
        piece = m.emit("Slice", o.x[0], *bounds)
        pieces.append(m.emit("ArgMax", piece, axis=1, keepdims=1))
    best = m.emit("Concat", *pieces, axis=1)
    m.emit("Add", best, m.constant(np.asarray(o.a["start"], np.int64)), into=o.y[0])


def _positive(m: Writer, o: Op) -> None:
    m.cast(m.emit("Greater", o.x[0], m.constant(np.array(0.0, np.float32))), np.int8, o.y[0])


def _to_box(m: Writer, o: Op) -> None:
    c = {name: m.constant(np.asarray(array, np.float64)) for name, array in o.w.items()}
    unit = m.emit("Min", m.emit("Max", m.cast(o.x[0], np.float64), c["unit_low"]), c["unit_high"])
    scaled = m.emit("Add", c["centre"], m.emit("Mul", c["half"], unit))
    m.emit("Min", m.emit("Max", scaled, c["low"]), c["high"], into=o.y[0])


OPERATIONS: Mapping[str, Operation] = {
    "cast": _cast,
    "scale": _scale,
    "normalize": _normalize,
    "flatten": _flatten,
    "channels_first": _channels_first,
    "one_hot": _one_hot,
    "conv2d": _conv2d,
    "linear": _linear,
    "activation": _activation,
    "layer_norm": _layer_norm,
    "concat": _concat,
    "slice": _slice,
    "recurrent": _recurrent,
    "dueling": _dueling,
    "expectation": _expectation,
    "mask": _mask,
    "argmax": _argmax,
    "multi_argmax": _multi_argmax,
    "positive": _positive,
    "to_box": _to_box,
}


def to_onnx(graph: PolicyGraph) -> Any:
    """The graph as a checked ONNX model: the same inputs and outputs by name, with a free batch axis ``N``."""
    m = Writer()
    for node in map(_raw_action, graph.nodes):
        weights = {role: graph.arrays[name] for role, name in node.weights.items()}
        OPERATIONS[node.op](m, Op(node.inputs, node.outputs, node.attributes, weights))
    shape = m.constant(np.array([-1, *graph.action_shape], np.int64))
    m.cast(m.emit("Reshape", "raw_action", shape), graph.action_dtype, "action")
    inputs = [helper.make_tensor_value_info(i.name, _kind(i.dtype), ["N", *i.shape]) for i in graph.inputs]
    outputs = [helper.make_tensor_value_info("action", _kind(graph.action_dtype), ["N", *graph.action_shape])]
    # the width of other outputs is inferred
    others = [name for name in graph.outputs if name != "action"]
    outputs += [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", None]) for name in others]
    model = helper.make_model(
        helper.make_graph(m.nodes, "policy", inputs, outputs, m.constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=8,  # the one that belongs to this opset, for runtimes of its time
        producer_name="optix",
    )
    checker: Any = onnx.checker
    checker.check_model(model, full_check=True)
    return model


def _raw_action(node: Node) -> Node:
    """The same operation, with its action under the name it has before shape and dtype are right."""
    swap = {"action": "raw_action"}
    return Node(
        op=node.op,
        inputs=tuple(swap.get(name, name) for name in node.inputs),
        outputs=tuple(swap.get(name, name) for name in node.outputs),
        attributes=node.attributes,
        weights=node.weights,
    )


def _kind(dtype: str) -> int:
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
