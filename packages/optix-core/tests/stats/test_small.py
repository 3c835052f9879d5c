from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats as reference

from optix_core.stats import (
    detrended_sd,
    effective_sample_size,
    fit_suffixes,
    gain_bounds,
    lag1_autocorrelation,
    largest_rise,
    merge_moments,
    moments_of,
    resolving_window,
    t_quantile,
    t_survival,
    unbias_lag1,
)


@pytest.mark.parametrize("probability", [0.8, 0.95, 0.977, 0.999])
def test_t_quantile_against_the_reference(probability):
    dof = np.array([1.0, 1.37, 2.5, 7.0, 33.3, 400.0])
    assert t_quantile(probability, dof) == pytest.approx(reference.t.ppf(probability, dof), rel=1e-4)


def test_t_survival_against_the_reference():
    assert t_survival([0.0, 2.0], [5.5, 5.5]) == pytest.approx(reference.t.sf([0.0, 2.0], 5.5))


def test_lag1_of_an_alternating_sequence():
    e = np.tile([1.0, -1.0], 50)
    assert lag1_autocorrelation(e) == pytest.approx(-0.99)
    assert lag1_autocorrelation(np.zeros(5)) == 0.0


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.8])
def test_the_correction_removes_most_of_the_bias(phi):
    rng = np.random.default_rng(0)
    raw, corrected, n = [], [], 60
    for _ in range(600):
        e = rng.normal(size=n + 100)
        for i in range(1, len(e)):
            e[i] += phi * e[i - 1]
        y, t = e[100:], np.arange(n)
        r1 = lag1_autocorrelation(y - np.polyval(np.polyfit(t, y, 1), t))
        raw.append(r1)
        corrected.append((r1 * n + 2.0) / (n - 4.0))
    assert abs(np.mean(corrected) - phi) < 0.03
    assert np.mean(raw) < phi


def test_effective_sample_size():
    assert effective_sample_size(100, 0.0) == 100.0
    assert effective_sample_size(90, 0.8) == pytest.approx(10.0)
    assert effective_sample_size(100, -0.5) == 100.0
    assert effective_sample_size(4, 0.99) == 2.0
    assert unbias_lag1(-0.9, 10) == 0.0


@pytest.mark.parametrize("r1", [0.0, 0.6])
def test_the_resolving_window_resolves(r1):
    n = resolving_window(noise_sd=2.0, r1=r1, horizon=20, delta=0.5)
    n_eff = n * (1 - r1) / (1 + r1)
    half_width = reference.t.ppf(0.95, n_eff - 2) * 20 * 2.0 * math.sqrt(12 * (1 + r1) / (1 - r1)) / n**1.5
    assert half_width == pytest.approx(0.5, rel=0.05)
    assert resolving_window(0.0, 0.0, 20, 1.0) == 3


def test_gain_bound_is_slope_plus_half_width():
    rng = np.random.default_rng(1)
    fits = fit_suffixes(tuple(rng.normal(size=40) + 0.1 * np.arange(40)), (40,))
    upper, half = gain_bounds(fits, 20.0, 0.95)
    assert upper[0] == pytest.approx(fits.slope[0] * 20 + half[0])
    assert half[0] == pytest.approx(reference.t.ppf(0.95, fits.dof[0]) * fits.slope_se[0] * 20, rel=1e-4)


def test_largest_rise_ignores_falls():
    assert largest_rise([5.0, 0.0, -10.0]) == 0.0
    assert largest_rise([5.0, 0.0, 3.0, -10.0, -4.0]) == 6.0


def test_detrended_sd_ignores_the_trend():
    assert detrended_sd([3.0 * k for k in range(20)]) == pytest.approx(0.0, abs=1e-5)
    assert detrended_sd([1.0, 2.0]) == 0.0


@pytest.mark.parametrize("split", [0, 1, 7, 50])
def test_merged_moments_are_those_of_all_samples(split):
    x = 1e6 + np.random.default_rng(0).normal(size=(50, 3))
    merged = merge_moments(moments_of(x[:split]), moments_of(x[split:]))
    assert merged.count == 50
    assert merged.mean == pytest.approx(x.mean(axis=0), rel=1e-12)
    assert merged.variance(ddof=1) == pytest.approx(x.var(axis=0, ddof=1), rel=1e-6)
    assert not moments_of(x[:1]).variance(ddof=1).any()


def test_importing_the_loop_loads_no_scipy():
    code = "import sys, optix_core.loop.transition, optix_core.loop.backoff_scheduler; print('scipy' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
