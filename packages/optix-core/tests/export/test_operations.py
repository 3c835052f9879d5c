"""Every operation of a policy graph: numpy against its definition, ONNX against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from optix_core.acting.recurrent import RecurrentSpec
from optix_core.export.graph import OPERATIONS, GraphBuilder, Input, Node, PolicyGraph
from optix_core.export.numpy_ops import ACTIVATIONS, Op
from optix_core.export.numpy_ops import OPERATIONS as IN_NUMPY

onnxruntime = pytest.importorskip("onnxruntime")

RNG = np.random.default_rng(3)


def f(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def box(n: int) -> dict[str, np.ndarray]:
    return {
        "unit_low": np.full(n, -1.0),
        "unit_high": np.full(n, 1.0),
        "centre": np.linspace(-1, 1, n),
        "half": np.linspace(0.5, 2, n),
        "low": np.full(n, -1.2),
        "high": np.full(n, 2.5),
    }


CASES: dict[str, tuple[str, list[np.ndarray], dict, dict]] = {
    "cast": ("cast", [RNG.integers(0, 255, (5, 3)).astype(np.uint8)], {}, {}),
    "scale": ("scale", [f(5, 3)], {"divisor": 255.0}, {}),
    "normalize": (
        "normalize",
        [f(5, 3) * 50 + 1000],
        {"clip": 10.0},
        {"mean": np.full(3, 1000.0), "std": np.array([1.0, 2.0, 30.0])},
    ),
    "flatten": ("flatten", [f(5, 2, 3, 4)], {}, {}),
    "channels_first": ("channels_first", [f(5, 4, 6, 3)], {}, {}),
    "one_hot": ("one_hot", [RNG.integers(2, 6, 5)], {"n": [4], "start": [2]}, {}),
    "one_hot of several": ("one_hot", [RNG.integers(0, 3, (5, 2))], {"n": [3, 4], "start": [0, 0]}, {}),
    "conv2d": (
        "conv2d",
        [f(5, 3, 9, 8)],
        {"stride": [2, 1], "padding": [1, 0]},
        {"weight": f(4, 3, 3, 2), "bias": f(4)},
    ),
    "linear": ("linear", [f(5, 3)], {}, {"weight": f(4, 3), "bias": f(4)}),
    **{f"activation {name}": ("activation", [f(5, 3) * 3], {"name": name}, {}) for name in ACTIVATIONS},
    "layer_norm": ("layer_norm", [f(5, 6)], {"epsilon": 1e-5}, {"weight": f(6), "bias": f(6)}),
    "concat": ("concat", [f(5, 3), f(5, 2)], {}, {}),
    "slice": ("slice", [f(5, 7)], {"start": 2, "stop": 5}, {}),
    **{
        f"{layers} {cell}": (
            "recurrent",
            [f(5, 3), f(5, 4 * layers * (2 if cell == "lstm" else 1))],
            {"cell": cell, "input_size": 3, "hidden_size": 4, "layers": layers},
            {"parameters": f(RecurrentSpec(cell, 3, 4, layers).layout.size)},
        )
        for cell in ("gru", "lstm")
        for layers in (1, 2)
    },
    "dueling": ("dueling", [f(5, 1), f(5, 4)], {"width": 1, "actions": 4}, {}),
    "dueling of atoms": ("dueling", [f(5, 7), f(5, 21)], {"width": 7, "actions": 3}, {}),
    "expectation": (
        "expectation",
        [f(5, 21)],
        {"actions": 3},
        {"atoms": np.linspace(-3, 9, 7, dtype=np.float32)},
    ),
    "mask": ("mask", [f(5, 4), RNG.random((5, 4)) < 0.5], {}, {}),
    "argmax": ("argmax", [f(5, 4)], {"start": 3}, {}),
    "multi_argmax": ("multi_argmax", [f(5, 9)], {"nvec": [2, 3, 4], "start": [0, 1, 0]}, {}),
    "positive": ("positive", [f(5, 4)], {}, {}),
    "to_box": ("to_box", [f(5, 3) * 2], {}, box(3)),
}


def run_onnx(op: str, x: list[np.ndarray], a: dict, w: dict) -> list[np.ndarray]:
    from onnx import TensorProto, helper

    from optix_core.export import onnx_ops

    m = onnx_ops.Writer()
    names = [f"x{i}" for i in range(len(x))]
    outputs = ["y0", "y1"] if op == "recurrent" else ["y0"]
    onnx_ops.OPERATIONS[op](m, onnx_ops.Op(names, outputs, a, w))
    inputs = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), ["N", *v.shape[1:]])
        for n, v in zip(names, x, strict=True)
    ]
    given = IN_NUMPY[op](Op(x, a, w))
    kinds = {"i": TensorProto.INT64, "f": TensorProto.FLOAT}
    kind = TensorProto.INT8 if op == "positive" else TensorProto.DOUBLE if op == "to_box" else None
    infos = [
        helper.make_tensor_value_info(n, kind or kinds[g.dtype.kind], None)
        for n, g in zip(outputs, given, strict=True)
    ]
    model = helper.make_model(
        helper.make_graph(m.nodes, "one", inputs, infos, m.constants),
        opset_imports=[helper.make_opsetid("", onnx_ops.OPSET)],
        ir_version=8,
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(outputs, dict(zip(names, x, strict=True)))


@pytest.mark.parametrize("case", CASES)
def test_onnx_computes_what_numpy_does(case):
    op, x, a, w = CASES[case]
    given = IN_NUMPY[op](Op(x, a, w))
    for mine, theirs in zip(given, run_onnx(op, x, a, w), strict=True):
        assert mine.shape == theirs.shape
        np.testing.assert_allclose(theirs, mine, rtol=1e-5, atol=1e-5)


def test_every_operation_is_there_and_tested():
    from optix_core.export import onnx_ops

    assert set(OPERATIONS) == set(IN_NUMPY) == set(onnx_ops.OPERATIONS) == {c[0] for c in CASES.values()}


def test_convolutions_are_those_of_pytorch():
    torch = pytest.importorskip("torch")
    conv = torch.nn.Conv2d(3, 4, (3, 2), stride=(2, 1), padding=(1, 0))
    w = {n: p.detach().numpy() for n, p in conv.named_parameters()}
    x = f(5, 3, 9, 8)
    found = IN_NUMPY["conv2d"](Op([x], {"stride": [2, 1], "padding": [1, 0]}, w))[0]
    np.testing.assert_allclose(found, conv(torch.from_numpy(x)).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_one_hot_and_expectation_by_definition():
    ones = IN_NUMPY["one_hot"](Op([np.array([[1, 3], [0, 2]])], {"n": [2, 4], "start": [0, 0]}, {}))[0]
    np.testing.assert_array_equal(ones, [[0, 1, 0, 0, 0, 1], [1, 0, 0, 0, 1, 0]])
    logits = np.log(np.array([[0.25, 0.75, 0.5, 0.5]], np.float32))
    mean = IN_NUMPY["expectation"](Op([logits], {"actions": 2}, {"atoms": np.array([0.0, 4.0])}))[0]
    np.testing.assert_allclose(mean, [[3.0, 2.0]], rtol=1e-6)


def test_a_graph_that_refers_to_nothing_is_refused():
    builder = GraphBuilder()
    graph = PolicyGraph(
        inputs=(Input(name="observation", dtype="float32", shape=(3,)),),
        nodes=(Node(op="linear", inputs=("observation",), outputs=("action",), weights={"weight": "w"}),),
        outputs=("action",),
        arrays={},
        action_dtype="float32",
        action_shape=(2,),
    )
    with pytest.raises(ValueError, match="uses 'w', which nothing gives"):
        graph.check()
    assert builder.add("cast", "observation") == "cast_0"
