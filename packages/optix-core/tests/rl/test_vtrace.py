"""V-trace against recorded numbers, the explicit sum of the paper, GAE, and mutants that must be noticed."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optix_core.rl import VTrace, compute_vtrace_targets, generalized_advantage_estimation
from optix_core.rl import vtrace as module
from optix_core.rl.vtrace import vtrace

CASES = json.loads((Path(__file__).parent / "data" / "vtrace.json").read_text(encoding="utf-8"))["cases"]
NAMES = ("vs", "advantages", "rhos", "deltas")


def arrays(case, dtype=np.float64):
    flags = ("terminated", "truncated")
    return {k: np.array(v, bool if k in flags else dtype) for k, v in case["steps"].items()}


def window(seed, T=12, N=3, ends=0.2, scale=0.5):
    rng = np.random.default_rng(seed)

    def draw():
        return rng.normal(size=(T, N))

    before = -np.abs(draw())
    return {
        "behaviour_log_probs": before,
        "target_log_probs": before + scale * draw(),
        "rewards": draw(),
        "values": draw(),
        "next_values": draw(),
        "terminated": rng.random((T, N)) < ends,
        "truncated": rng.random((T, N)) < ends,
    }


def explicit(s, *, gamma, lam=1.0, rho_bar=1.0, c_bar=1.0, pg_rho_bar=1.0):
    """The sum of eq. 1 of the paper, term by term, for each step on its own."""

    def cap(x, bound):
        return x if bound is None else min(x, bound)

    T, N = s["rewards"].shape
    vs, adv = np.empty((T, N)), np.empty((T, N))
    rho = np.exp(s["target_log_probs"] - s["behaviour_log_probs"])
    end = s["terminated"] | s["truncated"]
    for n in range(N):
        for t in reversed(range(T)):
            total, weight = 0.0, 1.0
            for i in range(t, T):
                future = 0.0 if s["terminated"][i, n] else gamma * s["next_values"][i, n]
                delta = cap(rho[i, n], rho_bar) * (s["rewards"][i, n] + future - s["values"][i, n])
                total += weight * delta
                if end[i, n]:
                    break
                weight *= gamma * lam * cap(rho[i, n], c_bar)
            vs[t, n] = s["values"][t, n] + total
            if end[t, n] or t == T - 1:
                q = 0.0 if s["terminated"][t, n] else s["next_values"][t, n]
            else:
                q = lam * vs[t + 1, n] + (1 - lam) * s["values"][t + 1, n]
            adv[t, n] = cap(rho[t, n], pg_rho_bar) * (s["rewards"][t, n] + gamma * q - s["values"][t, n])
    return vs, adv


@pytest.mark.parametrize("name", CASES)
def test_recorded_numbers(name):
    case = CASES[name]
    found = vtrace(**arrays(case), **case["hyperparameters"])
    for key in NAMES:
        np.testing.assert_allclose(getattr(found, key), case["expected"][key], rtol=1e-9, atol=1e-9)
        assert getattr(found, key).dtype == np.float64


@pytest.mark.parametrize("name", CASES)
def test_recorded_numbers_in_single_precision(name):
    case = CASES[name]
    found = vtrace(**arrays(case, np.float32), **case["hyperparameters"])
    for key in NAMES:
        np.testing.assert_allclose(getattr(found, key), case["expected"][key], rtol=2e-5, atol=2e-5)
        assert getattr(found, key).dtype == np.float32


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    "bounds",
    [{}, {"rho_bar": None, "c_bar": None, "pg_rho_bar": None}, {"rho_bar": 2.0, "c_bar": 0.5, "lam": 0.9}],
)
def test_is_the_explicit_sum(seed, bounds):
    s = window(seed)
    found = vtrace(**s, gamma=0.95, **bounds)
    # the values of steps inside an episode must agree with those of the successors for the sum to be the recursion
    vs, adv = explicit(s, gamma=0.95, **bounds)
    np.testing.assert_allclose(found.vs, vs, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.advantages, adv, rtol=1e-12, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 1), st.floats(0, 1))
def test_on_policy_it_is_gae(seed, gamma, lam):
    s = window(seed)
    s["target_log_probs"] = s["behaviour_log_probs"]
    end = s["terminated"] | s["truncated"]
    inside = ~end
    inside[-1] = False
    s["next_values"][:-1] = np.where(inside[:-1], s["values"][1:], s["next_values"][:-1])
    found = vtrace(**s, gamma=gamma, lam=lam)
    gae = generalized_advantage_estimation(
        s["rewards"], s["values"], s["next_values"], s["terminated"], end, gamma=gamma, gae_lambda=lam
    )
    np.testing.assert_allclose(found.advantages, gae, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found.vs, s["values"] + gae, rtol=1e-10, atol=1e-10)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 11))
def test_segments_in_one_column_are_segments_alone(seed, border):
    s = window(seed, N=2)
    s["truncated"][border - 1] = True  # the data of one slot ends here, the next one begins
    whole = vtrace(**s, gamma=0.97, lam=0.9)
    for part in (slice(0, border), slice(border, None)):
        alone = vtrace(**{k: v[part] for k, v in s.items()}, gamma=0.97, lam=0.9)
        for key in NAMES:
            np.testing.assert_array_equal(getattr(alone, key), getattr(whole, key)[part])


def test_columns_do_not_know_each_other():
    s = window(3, N=4)
    whole = vtrace(**s, gamma=0.9)
    for n in range(4):
        alone = vtrace(**{k: v[:, n : n + 1] for k, v in s.items()}, gamma=0.9)
        np.testing.assert_array_equal(alone.vs, whole.vs[:, n : n + 1])


def test_nothing_of_a_terminal_successor_matters_even_if_it_is_nan():
    s = window(5)
    s["terminated"][4, 1] = True
    clean = vtrace(**s, gamma=0.9)
    s["next_values"][4, 1] = np.nan
    dirty = vtrace(**s, gamma=0.9)
    np.testing.assert_array_equal(dirty.vs, clean.vs)
    np.testing.assert_array_equal(dirty.advantages, clean.advantages)


def test_nan_behind_a_boundary_stays_there():
    s = window(5, N=1)
    s["truncated"][4, 0] = True
    clean = vtrace(**s, gamma=0.9)
    s["rewards"][5:, 0] = np.nan
    dirty = vtrace(**s, gamma=0.9)
    np.testing.assert_array_equal(dirty.vs[:5], clean.vs[:5])


MUTANTS = {
    "leaks across a boundary": ("goes_on = ~(ends | cuts)", "goes_on = ~ends"),
    "leaks out of a terminal state": ("goes_on = ~(ends | cuts)", "goes_on = ~cuts"),
    "cuts the bootstrap at a time limit": (
        "np.where(ends, dtype",
        "np.where(ends | cuts, dtype",
    ),
    "lets a terminal state have a future": ("np.where(ends, dtype.type(0), following)", "following"),
    "weights the trace with lambda only": ("gamma * lam * _bounded(rhos, c_bar)", "gamma * lam"),
    "forgets lambda in the advantage": ("lam * vs[1:] + (1.0 - lam) * v[1:]", "vs[1:]"),
    "mixes up the bounds": ("_bounded(rhos, rho_bar) * (r", "_bounded(rhos, c_bar) * (r"),
    "shifts the bootstrap": (
        "deltas = _bounded(rhos, rho_bar) * (r + gamma * bootstrap - v)",
        "deltas = _bounded(rhos, rho_bar) * (r + gamma * (bootstrap + 1e-6 * ~ends) - v)",
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_recorded_numbers_catch(mutant):
    source = Path(module.__file__).read_text(encoding="utf-8")
    before, after = MUTANTS[mutant]
    assert source.count(before) == 1
    changed = types.ModuleType("mutant")
    changed.__dict__["__name__"] = "optix_core.rl.mutant"
    sys.modules["optix_core.rl.mutant"] = changed
    try:
        exec(compile(source.replace(before, after), "mutant", "exec"), changed.__dict__)
    finally:
        del sys.modules["optix_core.rl.mutant"]
    differs = 0
    for case in CASES.values():
        with np.errstate(all="ignore"):
            found = changed.vtrace(**arrays(case), **case["hyperparameters"])
        differs += any(
            not np.allclose(getattr(found, key), case["expected"][key], rtol=1e-9, atol=1e-9) for key in NAMES
        )
    assert differs


def test_a_stream_without_time_limits():
    rng = np.random.default_rng(0)
    r, v, mu = rng.normal(size=9), rng.normal(size=10), -np.abs(rng.normal(size=9))
    pi, done = mu + rng.normal(size=9), rng.random(9) < 0.3
    vs, adv = compute_vtrace_targets(r, v, mu, pi, done, gamma=0.9, rho_bar=1.5, c_bar=0.8)
    assert vs.dtype == adv.dtype == np.float32
    s = {
        "behaviour_log_probs": mu[:, None], "target_log_probs": pi[:, None], "rewards": r[:, None],
        "values": v[:-1, None], "next_values": v[1:, None], "terminated": done[:, None],
        "truncated": np.zeros((9, 1), bool),
    }  # fmt: skip
    want = explicit(s, gamma=0.9, rho_bar=1.5, c_bar=0.8, pg_rho_bar=1.5)
    np.testing.assert_allclose(vs, want[0][:, 0], rtol=1e-5)
    np.testing.assert_allclose(adv, want[1][:, 0], rtol=1e-5, atol=1e-6)


def test_no_steps_are_no_targets():
    empty = np.zeros((0, 2))
    found = vtrace(empty, empty, empty, empty, empty, empty.astype(bool), empty.astype(bool), gamma=0.9)
    assert isinstance(found, VTrace)
    assert found.vs.shape == (0, 2)


@pytest.mark.parametrize(
    "change",
    [
        {"gamma": 1.1},
        {"lam": -0.1},
        {"rho_bar": -1.0},
        {"rewards": np.zeros((3, 3))},
        {"rewards": np.zeros(12)},
    ],
)
def test_wrong_arguments(change):
    with pytest.raises(ValueError):
        vtrace(**{**window(0), "gamma": 0.9, **change})


def test_bounds_the_theory_does_not_cover_are_warned_of():
    with pytest.warns(RuntimeWarning, match="c_bar"):
        vtrace(**window(0), gamma=0.9, rho_bar=0.5, c_bar=1.0)


def test_values_must_be_one_longer():
    with pytest.raises(ValueError, match="T \\+ 1"):
        compute_vtrace_targets([1.0], [1.0], [0.0], [0.0], [False])
