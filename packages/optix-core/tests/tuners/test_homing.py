"""Values outside of their declared ranges are asked about first, and moved only where episodes say so."""

from __future__ import annotations

import json

import numpy as np
import pytest

from optix_core.tuners import BackoffOptimizer, MomentumOptimizer, SPSAOptimizer
from optix_core.tuners.homing import ATTEMPTS
from optix_core.types import EvalMetrics, HyperparamSet

BOUNDS = {"learning_rate": (1e-4, 3e-3), "gamma": (0.95, 0.999), "n_epochs": (3, 10)}
LOGS = ("learning_rate", "1-gamma")
TUNERS = (SPSAOptimizer, MomentumOptimizer, BackoffOptimizer)
SAME = [float(r) for r in np.random.default_rng(0).normal(100.0, 5.0, 10)]
BETTER = [r + 50.0 for r in SAME]


def tuner_of(kind, **options):
    return kind(BOUNDS, log_params=LOGS, seed=0, **options)


def history(n):
    return [EvalMetrics(100.0, {}, i, tuple(SAME)) for i in range(n)]


def values(learning_rate=1e-5, gamma=0.99, n_epochs=5):
    return HyperparamSet(
        {"learning_rate": learning_rate, "gamma": gamma, "n_epochs": n_epochs, "name": "x"}, 0
    )


@pytest.mark.parametrize("kind", TUNERS)
def test_the_first_trial_compares_the_start_with_values_inside(kind):
    tuner = tuner_of(kind)
    trial = tuner.propose(values(gamma=0.8, n_epochs=40), history(1))
    inside, start = trial.arms
    assert start == values(gamma=0.8, n_epochs=40).params
    assert inside["learning_rate"] == pytest.approx(1e-4 * 30**0.25)
    assert 1 - inside["gamma"] == pytest.approx(0.05 * 0.02**0.25)
    assert inside["n_epochs"] == 8
    assert inside["name"] == "x"
    assert trial.details["outside"]["learning_rate"]["declared"] == [1e-4, 3e-3]
    verdict = tuner.conclude(trial, [BETTER, SAME], paired=True)
    assert verdict.params == inside
    assert (verdict.committed, verdict.keep_arm) == (True, 0)


@pytest.mark.parametrize("kind", TUNERS)
def test_a_start_inside_is_not_asked_about(kind):
    trial = tuner_of(kind).propose(values(learning_rate=3e-4), history(1))
    assert "outside" not in trial.details
    assert trial.label == kind.label


def test_an_odd_value_that_is_right_stays():
    tuner = tuner_of(SPSAOptimizer, every=1)
    trial = tuner.propose(values(), history(1))
    verdict = tuner.conclude(trial, [SAME, BETTER], paired=True)
    assert verdict.params == values().params
    assert (verdict.committed, verdict.keep_arm) == (False, 1)
    again = tuner.propose(values(), history(2))
    assert "outside" not in again.details


def test_an_open_question_is_asked_again_with_longer_branches_and_then_left():
    tuner = tuner_of(SPSAOptimizer, every=8)
    lengths = []
    for n in range(1, ATTEMPTS + 1):
        trial = tuner.propose(values(), history(n))  # at every evaluation, whatever `every` says
        lengths.append(trial.windows)
        verdict = tuner.conclude(trial, [SAME, SAME[::-1]], paired=True)
        assert verdict.params == values().params
        assert not verdict.committed
    assert lengths == [2, 4, 8, 16]
    assert "left as they are" in verdict.details["outcome"]
    assert tuner.propose(values(), history(ATTEMPTS + 1)) is None
    later = tuner.propose(values(), history(ATTEMPTS + 8))
    assert "outside" not in later.details


def test_the_question_survives_a_resumed_run():
    first, second = tuner_of(SPSAOptimizer), tuner_of(SPSAOptimizer)
    trial = first.propose(values(), history(1))
    first.conclude(trial, [SAME, SAME[::-1]], paired=True)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second.propose(values(), history(2)) == first.propose(values(), history(2))
    assert second.state_dict() == first.state_dict()


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_unit_of_scores_decides_nothing(scale):
    plain, scaled = tuner_of(SPSAOptimizer), tuner_of(SPSAOptimizer)
    found = []
    for tuner, factor in ((plain, 1.0), (scaled, scale)):
        past = [EvalMetrics(100.0 * factor, {}, 0, tuple(factor * r for r in SAME))]
        trial = tuner.propose(values(), past)
        returns = [[factor * r for r in arm] for arm in (BETTER, SAME)]
        found.append((trial.arms, tuner.conclude(trial, returns, paired=True).params))
    assert found[0] == found[1]


def test_in_ordinary_windows_nobody_leaps():
    tuner = tuner_of(SPSAOptimizer, mode="two_probe")
    probed = tuner.suggest(values(), history(1)).params["learning_rate"]
    assert probed < 1e-4
