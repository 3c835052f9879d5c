from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optix_core.errors import ConfigError
from optix_core.tuners.space import Axis, UnitSpace, as_number

unit = st.floats(0, 1)


def test_scales_place_the_middle_where_their_definition_says() -> None:
    assert Axis(name="x", low=2, high=6).raw(0.5) == 4
    assert Axis(name="lr", low=1e-5, high=1e-1, scale="log").raw(0.5) == pytest.approx(1e-3)
    assert Axis(name="gamma", low=0.9, high=0.999, scale="log_complement").raw(0.5) == pytest.approx(0.99)


@pytest.mark.parametrize(
    "axis",
    [
        Axis(name="a", low=-3, high=9),
        Axis(name="a", low=1e-6, high=1, scale="log"),
        Axis(name="a", low=0.8, high=0.9999, scale="log_complement"),
    ],
)
@given(u=unit)
def test_the_map_and_its_inverse_agree_and_stay_inside(axis: Axis, u: float) -> None:
    value = axis.raw(u)
    assert axis.low <= value <= axis.high
    assert axis.to_unit(value) == pytest.approx(u, abs=1e-9)


@given(u=st.floats(-2, 3))
def test_integer_axes_give_whole_numbers_inside_the_range(u: float) -> None:
    value = Axis(name="n", low=1, high=20, integer=True).value(u)
    assert isinstance(value, int)
    assert 1 <= value <= 20


def test_positions_outside_the_cube_are_clipped() -> None:
    axis = Axis(name="lr", low=1e-5, high=1e-2, scale="log")
    assert (axis.raw(-1), axis.raw(2)) == (1e-5, 1e-2)


@pytest.mark.parametrize(
    "kwargs, part",
    [
        ({"low": 1, "high": 1}, "low < high"),
        ({"low": 0, "high": math.inf}, "finite"),
        ({"low": 0, "high": 1, "scale": "log"}, "low > 0"),
        ({"low": 0.9, "high": 1.0, "scale": "log_complement"}, "high < 1"),
    ],
)
def test_a_range_that_does_not_suit_its_scale_says_what_to_do(kwargs: dict, part: str) -> None:
    with pytest.raises(ConfigError, match="tuning range of 'x'") as error:
        Axis(name="x", **kwargs)
    assert part in str(error.value)


def test_only_bounded_numbers_become_axes() -> None:
    params = {
        "lr": 1e-3,
        "n": 4,
        "flag": True,
        "kind": "tanh",
        "none": None,
        "free": 2.0,
        "wide": np.float32(0.5),
    }
    bounds = {name: (1e-5, 10.0) for name in params if name != "free"}
    space = UnitSpace.of(params, bounds, ["lr"])
    assert [(a.name, a.scale, a.integer) for a in space.axes] == [
        ("lr", "log", False),
        ("n", "linear", True),
        ("wide", "linear", False),
    ]
    assert set(space.skipped) == {"flag", "kind", "none"}


def test_the_complement_spelling_selects_log_of_one_minus_x() -> None:
    space = UnitSpace.of({"gamma": 0.99}, {"gamma": (0.9, 0.999)}, ["1-gamma"])
    assert space.axes[0].scale == "log_complement"
    assert space.axes[0].to_unit(0.99) == pytest.approx(0.5)


def test_a_value_outside_its_range_widens_the_axis_and_is_reported() -> None:
    space = UnitSpace.of({"lr": 0.3}, {"lr": (1e-5, 1e-2)}, ["lr"])
    assert space.axes[0].high == 0.3
    assert dict(space.widened) == {"lr": (1e-5, 1e-2)}
    assert space.values([1.0]) == {"lr": pytest.approx(0.3)}


def test_a_value_the_scale_cannot_hold_is_left_alone_with_the_reason() -> None:
    space = UnitSpace.of(
        {"gamma": 1.0, "lr": 0.0}, {"gamma": (0.9, 0.99), "lr": (1e-5, 1)}, ["1-gamma", "lr"]
    )
    assert space.axes == ()
    assert "no place on a log_complement scale" in space.skipped["gamma"]


def test_numbers_are_ints_and_finite_floats_only() -> None:
    assert as_number(np.int64(3)) == 3
    assert isinstance(as_number(np.int64(3)), int)
    assert [as_number(v) for v in (True, "1", math.nan, math.inf, None)] == [None] * 5
