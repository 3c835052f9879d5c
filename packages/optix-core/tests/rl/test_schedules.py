"""Schedules begin, end and stay exactly where they say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optix_core.errors import ConfigError
from optix_core.rl.schedules import constant, cosine, linear, warm_up

value = st.floats(-10, 10)


@given(value, value, st.integers(1, 1000), st.integers(0, 3000))
def test_both_curves_run_from_start_to_end_and_stay(start, end, steps, at):
    for make in (linear, cosine):
        schedule = make(start, end, steps)
        assert schedule(0) == pytest.approx(start, abs=1e-12)
        assert schedule(steps) == schedule(steps + at) == end
        assert min(start, end) - 1e-9 <= schedule(at) <= max(start, end) + 1e-9
        direction = (end - start) * (schedule(at + 1) - schedule(at))
        assert direction >= -1e-9


def test_known_values():
    assert [linear(1.0, 0.0, 4)(t) for t in range(6)] == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    assert [round(cosine(2.0, 0.0, 4)(t), 6) for t in range(6)] == [2.0, 1.707107, 1.0, 0.292893, 0.0, 0.0]
    assert [constant(3.0)(t) for t in (0, 10**9)] == [3.0, 3.0]
    rising = warm_up(cosine(1.0, 0.0, 10), 4, start=0.2)
    assert [round(rising(t), 6) for t in (0, 2, 4, 9, 14, 99)] == [0.2, 0.6, 1.0, 0.5, 0.0, 0.0]


@pytest.mark.parametrize(
    "make", [lambda: linear(1, 0, 0), lambda: cosine(1, 0, 0), lambda: warm_up(constant(1), 0)]
)
def test_a_schedule_over_no_steps_is_refused(make):
    with pytest.raises(ConfigError, match="at least 1"):
        make()
