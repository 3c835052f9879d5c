"""V-trace in TensorFlow gives the numbers of core's, which are checked against the sum of the paper, and slips show."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from optix_core.rl.vtrace import vtrace as core
from optix_tf.policy_gradient import vtrace as page
from optix_tf.policy_gradient.vtrace import vtrace

RECORDED = Path(__file__).parents[2] / "optix-core" / "tests" / "rl" / "data" / "vtrace.json"
CASES = json.loads(RECORDED.read_text(encoding="utf-8"))["cases"]
NAMES = ("vs", "advantages", "rhos", "deltas")
BOUNDS = {
    "usual": {},
    "lambda": {"lam": 0.9},
    "none": {"rho_bar": None, "c_bar": None, "pg_rho_bar": None},
    "all different": {"lam": 0.8, "rho_bar": 1.7, "c_bar": 0.6, "pg_rho_bar": 1.2},
}


def window(seed, T=13, N=4, dtype=np.float64):
    """Terminal states, time limits and both at once; what follows a terminal state is NaN."""
    rng = np.random.default_rng(seed)
    before = -np.abs(rng.normal(size=(T, N)))
    terminated, truncated = rng.random((2, T, N)) < 0.2
    following = np.where(terminated, np.nan, rng.normal(size=(T, N)))
    floats = {
        "behaviour_log_probs": before,
        "target_log_probs": before + 0.6 * rng.normal(size=(T, N)),
        "rewards": rng.normal(size=(T, N)),
        "values": rng.normal(size=(T, N)),
        "next_values": following,
    }
    return {k: v.astype(dtype) for k, v in floats.items()} | {
        "terminated": terminated,
        "truncated": truncated,
    }


def compare(found, wanted, close):
    for name in NAMES:
        value = np.asarray(getattr(found, name))
        assert value.dtype == getattr(wanted, name).dtype
        assert np.isfinite(value).all()
        np.testing.assert_allclose(value, getattr(wanted, name), rtol=close, atol=close)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype, close", [("float64", 1e-9), ("float32", 2e-5)])
def test_recorded_numbers(name, dtype, close):
    case = CASES[name]
    flags = ("terminated", "truncated")
    data = {k: np.array(v, bool if k in flags else dtype) for k, v in case["steps"].items()}
    found = vtrace(**data, **case["hyperparameters"])
    for key in NAMES:
        value = np.asarray(getattr(found, key))
        assert value.dtype == dtype
        np.testing.assert_allclose(value, case["expected"][key], rtol=close, atol=close)


@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("seed", range(3))
def test_double_precision_is_core_s(bounds, seed):
    data = window(seed)
    compare(vtrace(**data, gamma=0.97, **BOUNDS[bounds]), core(**data, gamma=0.97, **BOUNDS[bounds]), 1e-12)


@pytest.mark.parametrize("bounds", BOUNDS)
def test_single_precision(bounds):
    data = window(7, dtype=np.float32)
    compare(vtrace(**data, gamma=0.97, **BOUNDS[bounds]), core(**data, gamma=0.97, **BOUNDS[bounds]), 2e-5)


@pytest.mark.parametrize("xla", [False, True])
def test_inside_tf_function_with_tensors_as_numbers(xla):
    data = window(8, dtype=np.float32)
    traces = []

    @tf.function(jit_compile=xla)
    def targets(data, gamma, bound):
        traces.append(1)
        return vtrace(**data, gamma=gamma, rho_bar=bound, c_bar=bound, pg_rho_bar=None)

    tensors = {k: tf.constant(v) for k, v in data.items()}
    for gamma, bound in ((0.9, 1.0), (0.99, 1.5)):
        wanted = core(**data, gamma=gamma, rho_bar=bound, c_bar=bound, pg_rho_bar=None)
        compare(targets(tensors, tf.constant(gamma), tf.constant(bound)), wanted, 2e-5)
    assert len(traces) == 1


def test_the_length_may_be_unknown_while_tracing():
    @tf.function(reduce_retracing=True)
    def targets(data):
        return vtrace(**data, gamma=0.9)

    for n in (3, 5, 0, 9):
        data = window(n, T=n)
        compare(targets({k: tf.constant(v) for k, v in data.items()}), core(**data, gamma=0.9), 1e-12)
    assert targets.experimental_get_tracing_count() == 2


def test_new_numbers_trace_nothing():
    data = window(9, dtype=np.float32)
    vtrace(**data, gamma=0.9)
    before = page._vtrace.experimental_get_tracing_count()
    vtrace(**data, gamma=0.95, lam=0.5, rho_bar=2.0)
    assert page._vtrace.experimental_get_tracing_count() == before


def test_results_are_constants():
    data = {k: tf.constant(v) for k, v in window(10, dtype=np.float32).items()}
    logs, values = data["target_log_probs"], data["values"]
    with tf.GradientTape() as tape:
        tape.watch((logs, values))
        found = vtrace(**data, gamma=0.9)
        total = tf.add_n([tf.reduce_sum(x) for x in found])
    assert all(g is None or not np.any(g) for g in tape.gradient(total, (logs, values)))


def test_nan_stays_behind_a_boundary_and_shows_before_it():
    data = window(11)
    data["terminated"][:] = data["truncated"][:] = False
    data["truncated"][4] = True
    data["next_values"][:] = 0.5
    data["target_log_probs"][7, 0] = np.nan
    found, wanted = vtrace(**data, gamma=0.9), core(**data, gamma=0.9)
    np.testing.assert_array_equal(np.isnan(found.vs), np.isnan(wanted.vs))
    assert np.isnan(found.vs[5, 0])
    assert np.isfinite(found.vs[:5]).all()


def test_no_steps_are_no_targets():
    for n in (0, 3, 0):  # with the number of steps known while tracing, and not
        assert vtrace(**window(0, T=n), gamma=0.9).vs.shape == (n, 4)


@pytest.mark.parametrize(
    "change, says",
    [
        ({"gamma": 1.1}, "gamma"),
        ({"lam": -0.1}, "lam"),
        ({"rho_bar": -1.0}, "rho_bar"),
        ({"rewards": np.zeros((13, 1))}, "one shape"),
        ({"values": np.zeros(13)}, "one shape"),
    ],
)
def test_wrong_arguments(change, says):
    with pytest.raises(ValueError, match=says):
        vtrace(**{**window(0), "gamma": 0.9, **change})


def test_bounds_the_theory_does_not_cover_are_warned_of():
    with pytest.warns(RuntimeWarning, match="c_bar"):
        vtrace(**window(0), gamma=0.9, rho_bar=0.5, c_bar=1.0)


SLIPS = {
    "leaks across a time limit": ("~(ends | cuts | is_last)", "~(ends | is_last)"),
    "leaks out of a terminal state": ("~(ends | cuts | is_last)", "~(cuts | is_last)"),
    "goes round from the last step to the first": ("~(ends | cuts | is_last)", "~(ends | cuts)"),
    "cuts the future at a time limit": ("tf.where(ends, tf", "tf.where(ends | cuts, tf"),
    "lets a terminal state have a future": ("tf.zeros_like(following), following", "1e-6 + 0 * r, following"),
    "looks at what follows a terminal state": (
        "tf.where(ends, tf.zeros_like(following), following)",
        "following",
    ),
    "weights the trace with lambda only": ("gamma * lam * _bounded(rhos, c_bar)", "gamma * lam * tf.ones_like(r)"),
    "forgets lambda in the advantage": (
        "lam * tf.roll(vs, -1, axis=0) + (1 - lam) * tf.roll(v, -1, axis=0)",
        "tf.roll(vs, -1, axis=0)",
    ),
    "mixes up the bounds": ("_bounded(rhos, rho_bar)", "_bounded(rhos, c_bar)"),
    "reads its inputs with a gradient": ("tf.stop_gradient(x)", "x"),
}  # fmt: skip


@pytest.mark.parametrize("slip", SLIPS)
def test_slips_are_noticed(monkeypatch, slip):
    source = inspect.getsource(page._vtrace.python_function)
    before, after = SLIPS[slip]
    assert source.count(before) == 1
    made = {}
    # without the graph: TensorFlow cannot read the source of what exec has made, and needs none of it here
    plain = source.removeprefix("@tf.function(reduce_retracing=True)\n").replace(before, after)
    exec(compile(plain, "slip", "exec"), page.__dict__, made)
    monkeypatch.setattr(page, "_vtrace", made["_vtrace"])
    with pytest.raises(AssertionError):
        test_double_precision_is_core_s("all different", 1)
        test_results_are_constants()
