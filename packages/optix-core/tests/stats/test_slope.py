from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optix_core.stats import effective_sample_size, fit_suffixes, lag1_autocorrelation, unbias_lag1


def by_hand(y: np.ndarray) -> tuple[float, float, float, float]:
    """Slope, corrected r1, residual sd and slope's standard error, written as in a textbook."""
    n = len(y)
    t = np.arange(n, dtype=float)
    slope, intercept = np.polyfit(t, y, 1)
    e = y - (intercept + slope * t)
    r1 = float(unbias_lag1(lag1_autocorrelation(e), n))
    n_eff = float(effective_sample_size(n, r1))
    variance = (e @ e) / n * n_eff / max(n_eff - 2.0, 1.0)
    return slope, r1, np.sqrt(variance), np.sqrt(variance / (n_eff * t.var()))


@pytest.mark.parametrize("seed", range(5))
def test_every_suffix_equals_the_textbook(seed):
    rng = np.random.default_rng(seed)
    y = 100.0 + rng.normal(size=90) + 0.5 * np.arange(90)
    lengths = (3, 8, 20, 55, 90)
    fits = fit_suffixes(tuple(y), lengths)
    for g, n in enumerate(lengths[1:], start=1):
        slope, r1, sd, se = by_hand(y[-n:])
        assert fits.slope[g] == pytest.approx(slope, rel=1e-8)
        assert fits.r1[g] == pytest.approx(r1, abs=1e-8)
        assert fits.residual_sd[g] == pytest.approx(sd, rel=1e-8)
        assert fits.slope_se[g] == pytest.approx(se, rel=1e-8)
        assert fits.mean[g] + y[-1] == pytest.approx(y[-n:].mean())


def test_a_perfect_line_has_its_slope_and_no_error():
    fits = fit_suffixes(tuple(100.0 + k for k in range(60)), (8, 60))
    assert fits.slope == pytest.approx([1.0, 1.0])
    assert fits.slope_se == pytest.approx([0.0, 0.0], abs=1e-5)


def test_a_constant_has_neither_slope_nor_noise():
    fits = fit_suffixes((9.4,) * 30, (8, 30))
    assert not fits.slope.any()
    assert not fits.residual_sd.any()
    assert not fits.r1.any()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-(2**20), 2**20), min_size=8, max_size=60),
    st.integers(-20, 20),
    st.integers(-(2**24), 2**24),
)
def test_exact_scaling_and_shifting_change_nothing_else(values, power, shift):
    lengths = (4, len(values))
    plain = fit_suffixes([float(v) for v in values], lengths)
    moved = fit_suffixes([(v + shift) * 2.0**power for v in values], lengths)
    for name in ("slope", "residual_sd", "slope_se", "mean"):
        assert np.array_equal(getattr(moved, name), getattr(plain, name) * 2.0**power)
    for name in ("r1", "n_eff", "dof"):
        assert np.array_equal(getattr(moved, name), getattr(plain, name))


def slope_coverage(phi: float, runs: int = 1500, n: int = 80) -> float:
    """How often the 95 % upper bound of the slope covers the true one, for AR(1) noise."""
    from optix_core.stats import gain_bounds

    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(runs):
        e = rng.normal(size=n + 50)
        for i in range(1, len(e)):
            e[i] += phi * e[i - 1]
        upper, _ = gain_bounds(fit_suffixes(tuple(e[50:]), (n,)), 1.0, 0.95)
        covered += upper[0] >= 0.0
    return covered / runs


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.8])
def test_the_bound_covers_under_autocorrelation(phi):
    assert slope_coverage(phi) >= 0.93


def test_without_the_correction_it_would_not_cover(monkeypatch):
    from optix_core.stats import slope

    monkeypatch.setattr(slope, "unbias_lag1", lambda r1, n: np.zeros_like(r1))
    assert slope_coverage(0.8) < 0.85
