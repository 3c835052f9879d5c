"""States come back exactly as they went in, and what cannot is refused by name."""

from __future__ import annotations

import enum
import math
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from optix_core.checkpoints import codec
from optix_core.checkpoints.jsonio import JsonProblem, canonical, ordered, parse_object
from optix_core.checkpoints.tensors import deserialize, serialize
from optix_core.errors import CheckpointError, NonFiniteState
from optix_core.seeding import Domain, generator
from optix_core.state import generator_state, restore_generator


def round_trip(components: Any) -> Any:
    """Through the very bytes that a checkpoint holds."""
    encoded = codec.encode_components(components)
    arrays = deserialize(bytearray(serialize(encoded.arrays))) if encoded.arrays else {}
    return codec.decode_components(parse_object(ordered(encoded.document)), arrays)


def assert_same(a: Any, b: Any) -> None:
    """Equal to the last bit, including types, key order, dtype, shape and memory order; tuples equal lists."""
    if isinstance(a, np.ndarray):
        assert isinstance(b, np.ndarray)
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert a.tobytes() == b.tobytes()
        assert b.flags.writeable
        if a.flags.f_contiguous and not a.flags.c_contiguous:
            assert b.flags.f_contiguous
        return
    if isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_same(a[key], b[key])
        return
    if isinstance(a, list | tuple):
        assert isinstance(b, list)
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
        return
    assert type(a) is type(b)
    if isinstance(a, float | np.floating):
        assert (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    else:
        assert a == b


DTYPES = st.sampled_from([*sorted(codec.ARRAY_DTYPES), "complex64", "complex128"])
ARRAYS = DTYPES.flatmap(
    lambda d: hnp.arrays(d, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)
SCALARS = st.sampled_from(sorted(codec.ARRAY_DTYPES)).flatmap(lambda d: hnp.arrays(d, 1).map(lambda a: a[0]))
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**130), 2**130),
    st.floats(),
    st.text(max_size=8),
    ARRAYS,
    SCALARS,
)
KEYS = st.one_of(
    st.text(max_size=6), st.sampled_from(["$array", "$", "$$", "$float", "a/b", "a~1b", "a", "0"])
)
STATES = st.dictionaries(
    KEYS,
    st.recursive(
        LEAVES,
        lambda c: st.one_of(st.lists(c, max_size=3), st.dictionaries(KEYS, c, max_size=3)),
        max_leaves=8,
    ),
    max_size=4,
)


@settings(max_examples=400, deadline=None)
@given(STATES)
def test_any_state_comes_back(state: dict[str, Any]) -> None:
    assert_same({"agent": state}, round_trip({"agent": state}))


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, -0.0, 5e-324, 0.1, 2**63, -(2**127), 2**128 - 1]
)
def test_numbers_that_json_finds_hard(value: float) -> None:
    assert_same({"c": {"v": [value, (value,)]}}, round_trip({"c": {"v": [value, (value,)]}}))


def test_arrays_keep_dtype_shape_and_memory_order() -> None:
    state = {
        "zero_d": np.array(1.5, np.float16),
        "empty": np.zeros((0, 3), np.int8),
        "flags": np.array([True, False, True]),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "strided": np.arange(10)[::2],
        "nan": np.array([math.nan, -math.inf, -0.0]),
    }
    assert_same(state, round_trip({"a": state})["a"])


def test_decoded_arrays_share_nothing_with_the_state() -> None:
    original = np.zeros(3)
    result = round_trip({"a": {"x": original, "y": original}})["a"]
    result["x"][:] = 1
    assert original.sum() == 0
    assert result["y"].sum() == 0


def test_random_streams_continue() -> None:
    rng = generator(7, Domain.POLICY)
    rng.standard_normal(5)
    python = random.Random(3)
    stored = round_trip({"r": {"np": generator_state(rng), "py": python.getstate()}})["r"]
    expected, expected_python = rng.standard_normal(4), python.random()
    fresh = generator(0, Domain.ENV)
    restore_generator(fresh, stored["np"])
    np.testing.assert_array_equal(fresh.standard_normal(4), expected)
    version, internal, gauss = stored["py"]
    python.setstate((version, tuple(internal), gauss))
    assert python.random() == expected_python


class Color(enum.IntEnum):
    RED = 1


@pytest.mark.parametrize(
    "value",
    [
        {1, 2},
        b"bytes",
        object(),
        Color.RED,
        np.array(["text"]),
        np.array([object()]),
        np.array([1.0], dtype=">f8"),
        np.longdouble(1),
        np.datetime64("2020-01-01"),
        np.ma.masked_array([1, 2], [True, False]),
        1 << 20_000,
    ],
    ids=lambda v: type(v).__name__,
)
def test_what_cannot_come_back_is_refused_by_name(value: Any) -> None:
    with pytest.raises(CheckpointError, match=r"agent/deep/0/bad") as caught:
        codec.encode_components({"agent": {"deep": [{"bad": value}]}})
    assert caught.value.code == "E-CKPT-UNSAVABLE"
    assert "Nothing was written" in str(caught.value)


def test_a_key_that_is_no_string_and_a_state_that_contains_itself() -> None:
    with pytest.raises(CheckpointError, match="keys are strings"):
        codec.encode_components({"agent": {"x": {1: 2}}})
    loop: dict[str, Any] = {}
    loop["self"] = loop
    with pytest.raises(CheckpointError, match="contain itself"):
        codec.encode_components({"agent": loop})
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(CheckpointError, match="contain itself"):
        codec.encode_components({"agent": {"x": endless}})


@pytest.mark.parametrize("name", ["", "Agent", "../x", "a/b", "x" * 65, ".a", "a b"])
def test_component_names_are_plain(name: str) -> None:
    with pytest.raises(CheckpointError, match="not a component name"):
        codec.encode_components({name: {}})


def test_non_finite_arrays_are_found_with_place_and_number() -> None:
    state = {"weights": {"w": np.array([[1.0, math.nan], [math.inf, 0.0]])}, "best": -math.inf}
    with pytest.raises(
        NonFiniteState, match=r"agent/weights/w float64\[2, 2\] holds 2 non-finite of 4 .*index \[0, 1\]"
    ):
        codec.require_finite("agent", state)
    codec.require_finite("agent", {"best": -math.inf, "w": np.array([1e300]), "i": np.array([2**62])})


@pytest.mark.parametrize(
    "document",
    [
        {"a": {"x": {"$array": "missing"}}},
        {"a": {"x": {"$array": ["a"]}}},
        {"a": {"x": {"$float": "1"}}},
        {"a": {"x": {"$scalar": ["object", 1]}}},
        {"a": {"x": {"$scalar": ["int8", 300]}}},
        {"a": {"x": {"$scalar": ["float32", "one"]}}},
        {"a": {"x": {"$eval": "1+1"}}},
        {"a": {"$x": 1, "y": 2}},
        {"a": [1]},
        {"a": {"x": {"$array": "a/used"}, "y": {"$array": "a/used"}}},
    ],
    ids=str,
)
def test_foreign_documents_are_refused(document: Any) -> None:
    with pytest.raises(codec.CodecProblem):
        codec.decode_components(document, {"a/used": np.zeros(1)})


def test_an_array_that_nothing_refers_to_is_refused() -> None:
    with pytest.raises(codec.CodecProblem, match="nothing refers"):
        codec.decode_components({"a": {}}, {"a/x": np.zeros(1)})


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"a":NaN}',
        b'{"a":1,"a":2}',
        b"\xff\xfe",
        b'{"a":' * 100_000,
        b"[" * 200_000,
        b'{"a":' + b"9" * 5000 + b"}",
    ],
    ids=lambda t: t[:12].decode("latin1"),
)
def test_ambiguous_or_hostile_json_is_refused(text: bytes) -> None:
    with pytest.raises(JsonProblem):
        parse_object(text)


def test_json_length_limit() -> None:
    assert parse_object(b'{"a":1}', 7) == {"a": 1}
    with pytest.raises(JsonProblem, match="more than the 6"):
        parse_object(b'{"a":1}', 6)


def test_canonical_form_ignores_key_order_and_ordered_form_keeps_it() -> None:
    assert (
        canonical({"b": 1, "a": "ü\ud800"})
        == canonical({"a": "ü\ud800", "b": 1})
        == b'{"a":"\\u00fc\\ud800","b":1}'
    )
    assert ordered({"b": 1, "a": 2}) == b'{"b":1,"a":2}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical(math.nan)


def test_loose_encoding_takes_anything() -> None:
    value = {
        "f32": np.float32(1.5),
        "nan": np.float64("nan"),
        3: [np.arange(2), (1, Color.RED)],
        "obj": Color,
        "set": {1},
        "big": 1 << 20_000,
    }
    result = codec.decode_value(codec.encode_loosely(value))
    assert result["f32"] == 1.5
    assert type(result["f32"]) is float
    assert math.isnan(result["nan"])
    assert result["3"] == [[0, 1], [1, 1]]
    assert result["set"] == "{1}"
    assert isinstance(result["big"], str)
