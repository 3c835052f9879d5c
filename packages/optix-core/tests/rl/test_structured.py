"""Observations with parts go into records and come back as they were."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from optix_core.errors import SpaceError
from optix_core.rl import structured
from optix_core.rl.spaces import describe_space
from optix_core.rl.structured import element_dtype, pack, unpack

LEAVES = st.sampled_from(
    [
        spaces.Box(-1, 1, (2, 3), np.float32),
        spaces.Box(-1, 1, (), np.float64),
        spaces.Box(0, 255, (2, 2, 1), np.uint8),
        spaces.Discrete(4, start=-1),
        spaces.MultiDiscrete([2, 5]),
        spaces.MultiBinary((2, 2)),
        spaces.Box(-1, 1, (1,), np.float16),
    ]
)
KEYS = st.text("ab0/ .é", min_size=1, max_size=3)
SPACES = st.recursive(
    LEAVES,
    lambda below: st.one_of(
        st.dictionaries(KEYS, below, min_size=1, max_size=3).map(spaces.Dict),
        st.lists(below, min_size=1, max_size=3).map(spaces.Tuple),
    ),
    max_leaves=6,
)


def same_raw(a, b):
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same_raw(a[k], b[k]) for k in a)
    if isinstance(a, tuple):
        return isinstance(b, tuple) and len(a) == len(b) and all(map(same_raw, a, b))
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@given(space=SPACES, seed=st.integers(0, 1000))
@settings(max_examples=80, deadline=None)
def test_there_and_back(space, seed):
    space.seed(seed)
    info = describe_space(space)
    raw = [space.sample() for _ in range(6)]
    if info.is_array:
        batch = np.stack(raw)
    else:
        packed = [pack(o, info.dtype) for o in raw]
        assert all(same_raw(unpack(p, info), o) for p, o in zip(packed, raw, strict=True))
        assert all(space.contains(unpack(p, info)) for p in packed)
        batch = np.stack(packed)
        assert batch.dtype == info.dtype == element_dtype(space)
        assert info.dtype.isalignedstruct
    stored = structured.to_state(batch.reshape(2, 3, *batch.shape[1:]))
    found = structured.from_state(stored, info.dtype)
    assert structured.same(found, batch.reshape(found.shape))
    assert found.shape[:2] == (2, 3)
    leaves = dict(structured.leaves(batch))
    infos = dict(structured.leaf_infos(info))
    assert list(leaves) == list(infos)
    for path, values in leaves.items():
        assert values.shape == (6, *infos[path].shape)
        assert values.dtype == infos[path].dtype
        assert values.size == 0 or np.shares_memory(values, batch)
    assert sum(i.flat_dim for i in infos.values()) == info.flat_dim == spaces.flatdim(space)


def test_joining_keeps_the_dtype():
    """What numpy does to records must not change their layout: digests and segments are made of their bytes."""
    dtype = element_dtype(spaces.Dict(a=spaces.Box(0, 1, (3,), np.uint8), b=spaces.Discrete(3)))
    rows = structured.empty((4,), dtype)
    for joined in (np.concatenate([rows, rows]), np.stack([rows, rows]), rows[[0, 1]], rows[::2].copy()):
        assert joined.dtype == dtype
        assert joined.dtype.itemsize == dtype.itemsize
        assert joined.dtype.fields == dtype.fields


def test_padding_is_no_chance():
    dtype = element_dtype(spaces.Dict(a=spaces.Box(0, 1, (3,), np.uint8), b=spaces.Discrete(3)))
    assert dtype.itemsize > 3 + 8
    one, other = (pack({"a": np.ones(3, np.uint8), "b": 2}, dtype) for _ in range(2))
    assert one.tobytes() == other.tobytes()


def test_ambiguous_keys_follow_the_space():
    space = spaces.Dict({"0": spaces.Discrete(2), "1": spaces.Discrete(2)})
    info = describe_space(space)
    row = pack({"0": 1, "1": 0}, info.dtype)
    assert unpack(row, info) == {"0": 1, "1": 0}
    assert unpack(row) == (1, 0)


def test_a_packed_record_is_taken_as_it_is():
    dtype = element_dtype(spaces.Dict(a=spaces.Discrete(3)))
    row = pack({"a": 2}, dtype)
    assert pack(row, dtype)["a"] == 2
    assert pack(row, dtype) is not row


@pytest.mark.parametrize("space", [spaces.Dict(), spaces.Dict({1: spaces.Discrete(2)}), spaces.Tuple(())])
def test_spaces_without_usable_parts_are_refused(space):
    with pytest.raises(SpaceError, match=r"no parts|the keys"):
        describe_space(space)


def test_an_unknown_part_is_refused():
    with pytest.raises(SpaceError, match="the space Text is of a kind"):
        describe_space(spaces.Dict(a=spaces.Tuple((spaces.Text(3),))))


@pytest.mark.parametrize(
    "stored",
    [
        [np.zeros((2, 3), np.uint8)],
        [np.zeros((2, 3), np.uint8), np.zeros(2, np.int32)],
        [np.zeros((2, 4), np.uint8), np.zeros(2, np.int64)],
        [np.zeros((2, 3), np.uint8), np.zeros(3, np.int64)],
        np.zeros(2),
    ],
)
def test_other_parts_are_refused(stored):
    dtype = element_dtype(spaces.Dict(a=spaces.Box(0, 1, (3,), np.uint8), b=spaces.Discrete(3)))
    with pytest.raises(structured.ObservationMismatch):
        structured.from_state(stored, dtype)


def test_what_differs_is_not_the_same():
    dtype = element_dtype(spaces.Dict(a=spaces.Box(-1, 1, (2,)), b=spaces.Discrete(3)))
    one = pack({"a": np.array([np.nan, 0.0], np.float32), "b": 1}, dtype)
    other = one.copy()
    assert structured.same(one, other)
    other["b"] = 2
    assert not structured.same(one, other)
    assert not structured.same(one, one[None])
