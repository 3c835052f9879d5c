"""One number from several seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from optix_core.errors import ConfigError
from optix_core.search.scoring import aggregated, check_aggregate, interval_of


def test_the_mean_is_the_mean():
    assert aggregated([1.0, 2.0, 6.0]) == 3.0


def test_the_interquartile_mean_leaves_out_a_quarter_on_each_side():
    assert aggregated([100.0, 3.0, 4.0, -70.0], "iqm") == 3.5
    # five scores: a quarter is 1.25, so the second and the fourth count three quarters
    assert aggregated([9.0, 1.0, 2.0, 5.0, 4.0], "iqm") == pytest.approx((0.75 * 2 + 4 + 0.75 * 5) / 2.5)
    assert aggregated([1.0, 5.0], "iqm") == 3.0


@pytest.mark.parametrize("how", ["mean", "iqm"])
def test_scale_and_offset_pass_through(how):
    scores = [0.3, -1.2, 4.0, 2.2, 0.9]
    for scale, offset in ((1e-3, 0.0), (1e3, -500.0)):
        moved = interval_of([scale * s + offset for s in scores], how)
        plain = interval_of(scores, how)
        for end in ("mean", "low", "high"):
            assert getattr(moved, end) == pytest.approx(scale * getattr(plain, end) + offset)


@pytest.mark.parametrize("how", ["mean", "iqm"])
def test_few_scores_give_no_interval(how):
    found = interval_of([1.0, 2.0], how)
    assert (found.mean, found.low, found.high) == (1.5, -math.inf, math.inf)


@pytest.mark.parametrize("how", ["mean", "iqm"])
def test_intervals_cover_the_centre_of_normal_scores(how):
    rng = np.random.default_rng(0)
    found = [interval_of(list(rng.normal(3.0, 2.0, 12)), how) for _ in range(60)]
    covered = np.mean([one.low <= 3.0 <= one.high for one in found])
    assert covered >= 0.8
    assert max(one.high - one.low for one in found) < 6.0


def test_an_unknown_aggregate_is_refused():
    with pytest.raises(ConfigError, match="iqm"):
        check_aggregate("median")
