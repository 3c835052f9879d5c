"""No length in a safetensors file is trusted."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load as reference_load

from optix_core.checkpoints.tensors import TensorProblem, describe, deserialize, serialize


def build(header: Any, data: bytes, length: int | None = None) -> bytearray:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return bytearray((len(text) if length is None else length).to_bytes(8, "little") + text + data)


def entry(dtype: str = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_agrees_with_the_reference_implementation() -> None:
    rng = np.random.default_rng(0)
    arrays = {
        f"x/{d}": (rng.random((3, 5)) * 100).astype(d)
        for d in ("bool", "int8", "uint16", "float32", "float64")
    }
    arrays |= {"empty": np.zeros((0, 2)), "zero_d": np.array(4, np.int64), "t": rng.random((2, 3)).T}
    data = serialize(arrays)
    mine, theirs = deserialize(bytearray(data)), reference_load(data)
    assert set(mine) == set(theirs) == set(arrays)
    for name, array in arrays.items():
        for found in (mine[name], theirs[name]):
            assert found.dtype == array.dtype
            np.testing.assert_array_equal(found, array)
    assert describe(mine) == describe(arrays)


def test_key_order_does_not_change_the_bytes() -> None:
    a, b = np.zeros(2), np.ones(3)
    assert serialize({"a": a, "b": b}) == serialize({"b": b, "a": a})


@pytest.mark.parametrize(
    "data",
    {
        "nothing": bytearray(),
        "short": bytearray(b"\x01\x00"),
        "header longer than file": build({}, b"", 2**40),
        "negative-looking header": bytearray(b"\xff" * 8 + b"{}"),
        "header too long": bytearray((9 * 2**20).to_bytes(8, "little") + b" " * (9 * 2**20)),
        "not json": build(b"{]", b""),
        "array header": build([], b""),
        "duplicate": build(
            b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
            b"x",
        ),
        "no description": build({"a": 1}, b""),
        "unknown dtype": build({"a": entry("Q99")}, bytes(8)),
        "dtype is a list": build({"a": {**entry(), "dtype": ["F32"]}}, bytes(8)),
        "negative shape": build({"a": entry(shape=(-2,))}, bytes(8)),
        "float shape": build({"a": entry(shape=(2.0,))}, bytes(8)),
        "bool shape": build({"a": entry(dtype="U8", shape=(True,), offsets=(0, 1))}, bytes(1)),
        "huge shape": build({"a": entry(shape=(2**62, 2**62))}, bytes(8)),
        "too many axes": build({"a": entry(shape=(1,) * 33 + (2,))}, bytes(8)),
        "offsets reversed": build({"a": entry(offsets=(8, 0))}, bytes(8)),
        "offsets beyond": build({"a": entry(offsets=(8, 16))}, bytes(8)),
        "one offset": build({"a": entry(offsets=(8,))}, bytes(8)),
        "hole": build({"a": entry(offsets=(4, 12))}, bytes(12)),
        "overlap": build({"a": entry(), "b": entry()}, bytes(8)),
        "trailing": build({"a": entry()}, bytes(9)),
        "nothing described": build({}, b"x"),
    }.values(),
    ids=lambda d: bytes(d[:60]).decode("latin1"),
)
def test_lies_are_refused(data: bytearray) -> None:
    with pytest.raises(TensorProblem):
        deserialize(data)


def test_truncation_at_every_byte_is_refused() -> None:
    data = serialize({"a": np.arange(4.0), "b": np.array([True])})
    for length in range(len(data)):
        with pytest.raises(TensorProblem):
            deserialize(bytearray(data[:length]))


def test_arrays_are_views_of_one_buffer_and_writable() -> None:
    data = bytearray(serialize({"a": np.arange(4.0), "b": np.arange(3, dtype=np.int16)}))
    arrays = deserialize(data)
    assert all(not a.flags.owndata and a.flags.writeable and a.flags.aligned for a in arrays.values())
    arrays["a"][0] = math.pi
    assert arrays["b"].tolist() == [0, 1, 2]
