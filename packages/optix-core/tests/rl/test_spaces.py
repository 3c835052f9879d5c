"""Spaces are described as they are, and policy outputs always land inside the Box."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from optix_core.errors import SpaceError
from optix_core.rl.spaces import BoxScaler, describe_space, flat_dim, require_kind, space_label

BOX = spaces.Box(-1, 1, (2, 3))
EVERY_KIND = [
    (spaces.Discrete(4), "discrete", (), 4),
    (spaces.Discrete(3, start=-1), "discrete", (), 3),
    (spaces.MultiDiscrete([2, 5]), "multi_discrete", (2,), 7),
    (spaces.MultiBinary(6), "multi_binary", (6,), 6),
    (BOX, "box", (2, 3), 6),
    (spaces.Dict(a=BOX, b=spaces.Discrete(2)), "dict", (), 8),
    (spaces.Tuple((BOX, spaces.MultiBinary(2))), "tuple", (), 8),
]


@pytest.mark.parametrize("space,kind,shape,size", EVERY_KIND)
def test_every_kind_is_described(space, kind, shape, size):
    info = describe_space(space)
    assert (info.kind, info.shape, info.flat_dim) == (kind, shape, size)
    assert flat_dim(space) == spaces.flatdim(space) == size
    assert info.is_array == (kind not in {"dict", "tuple"})


@pytest.mark.parametrize("space", [s for s, kind, _, _ in EVERY_KIND if kind not in {"dict", "tuple"}])
def test_samples_lie_between_low_and_high(space):
    info = describe_space(space)
    space.seed(0)
    samples = np.array([space.sample() for _ in range(200)])
    assert (samples >= info.low).all()
    assert (samples <= info.high).all()
    if info.kind != "box":  # discrete kinds reach both ends
        assert (samples.min(axis=0) == info.low).all()
        assert (samples.max(axis=0) == info.high).all()


def test_labels_are_short():
    assert space_label(spaces.Dict(a=BOX, b=spaces.Discrete(2))) == "Dict(a: Box(2, 3), b: Discrete(2))"


def test_an_unknown_kind_is_refused_with_a_way_out():
    with pytest.raises(SpaceError, match="FlattenObservation"):
        describe_space(spaces.Text(3))


def test_the_wrong_kind_is_refused_with_names_and_a_way_out():
    with pytest.raises(SpaceError) as error:
        require_kind(spaces.Discrete(3), {"box"}, role="action", component="SAC")
    for part in ("SAC", "action", "Discrete(3)", "box", "discrete actions"):
        assert part in str(error.value)
    with pytest.raises(SpaceError, match=r"FlattenObservation \(it gives Box\(8,\)\)"):
        require_kind(EVERY_KIND[5][0], {"box"}, role="observation", component="PPO")
    assert require_kind(BOX, {"box"}, role="action", component="SAC").kind == "box"


@st.composite
def boxes(draw):
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    width = 32 if dtype == np.float32 else 64
    finite = st.floats(allow_nan=False, allow_infinity=False, width=width)
    shape = (draw(st.integers(1, 4)),)
    a = draw(hnp.arrays(dtype, shape, elements=finite))
    b = draw(hnp.arrays(dtype, shape, elements=finite))
    low, high = np.minimum(a, b), np.maximum(a, b)
    low[draw(hnp.arrays(np.bool_, shape))] = -np.inf
    high[draw(hnp.arrays(np.bool_, shape))] = np.inf
    return spaces.Box(low, high, dtype=dtype)


@given(boxes(), st.data())
def test_whatever_goes_in_lands_in_the_space(box, data):
    scaler = BoxScaler(box)
    x = data.draw(
        hnp.arrays(np.float64, box.shape, elements=st.floats(allow_nan=False, allow_infinity=False))
        | hnp.arrays(np.float32, box.shape, elements=st.sampled_from([-1.0, 1.0, 0.0, -0.99999994]))
    )
    for action in (scaler.to_box(x), scaler.clip(x)):
        assert box.contains(action)
        assert np.isfinite(action).all()


def test_the_ends_of_the_unit_interval_are_the_bounds():
    box = spaces.Box(np.array([-2.0, 0.1, -0.4], np.float32), np.array([2.0, 0.7, 0.4], np.float32))
    scaler = BoxScaler(box)
    np.testing.assert_array_equal(scaler.to_box(-np.ones(3)), box.low)
    np.testing.assert_array_equal(scaler.to_box(np.ones(3)), box.high)
    np.testing.assert_allclose(scaler.to_box(np.zeros(3)), [0.0, 0.4, 0.0], atol=1e-7)
    np.testing.assert_array_equal(scaler.to_box(5 * np.ones((2, 3))), np.stack([box.high] * 2))


@given(hnp.arrays(np.float64, (5, 3), elements=st.floats(-1, 1)))
def test_there_and_back(unit):
    scaler = BoxScaler(spaces.Box(np.array([-2.0, 0.1, -1e6]), np.array([2.0, 0.7, 3e6]), dtype=np.float64))
    np.testing.assert_allclose(scaler.from_box(scaler.to_box(unit)), unit, atol=1e-9)


def test_components_without_a_scale_pass_through():
    low, high = np.array([-np.inf, 0.0, 3.0]), np.array([np.inf, np.inf, 3.0])
    scaler = BoxScaler(spaces.Box(low, high, dtype=np.float64))
    np.testing.assert_array_equal(scaler.to_box([7.0, -4.0, 0.3]), [7.0, 0.0, 3.0])
    np.testing.assert_array_equal(scaler.from_box([7.0, 5.0, 3.0]), [7.0, 5.0, 0.0])


def test_nan_is_not_hidden():
    assert np.isnan(BoxScaler(BOX).to_box(np.full((2, 3), np.nan))).all()


def test_what_has_no_scale_is_refused():
    with pytest.raises(SpaceError, match="supports box"):
        BoxScaler(spaces.Discrete(2))
    with pytest.raises(SpaceError, match="floating"):
        BoxScaler(spaces.Box(0, 255, (2,), np.uint8))
