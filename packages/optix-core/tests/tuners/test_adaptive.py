"""Routing: what the scores look like, hysteresis, and what happens at a switch."""

from __future__ import annotations

import numpy as np
import pytest
from tuner_toys import START, Quadratic, drive, make

from optix_core.errors import ConfigError
from optix_core.tuners.adaptive import MEMBERS
from optix_core.tuners.routing import WINDOW, Router, detrended, lag1_autocorrelation
from optix_core.types import EvalMetrics, HyperparamSet


def ar1(phi: float, n: int, rng: np.random.Generator) -> np.ndarray:
    x = np.zeros(n + 50)
    for i in range(1, len(x)):
        x[i] = phi * x[i - 1] + rng.normal()
    return x[50:]


def router(**options: float) -> Router:
    settings = {"autocorr_threshold": 0.3, "gap_threshold": 0.2, "patience": 3, "confirmation": 3}
    return Router(**{**settings, "min_history": 10, **options})  # type: ignore[arg-type]


def feed(r: Router, scores) -> list[tuple[int, str, str]]:
    found = []
    for i, score in enumerate(scores):
        switch = r.see(float(score))
        if switch is not None:
            found.append((i, switch.before, switch.after))
    return found


def test_white_noise_has_no_autocorrelation_on_average_after_the_trend_is_out() -> None:
    rng = np.random.default_rng(0)
    curve = 30 * (1 - np.exp(-np.arange(WINDOW) / 12))
    for trend in (0.0, 1.0):
        found = [lag1_autocorrelation(rng.normal(size=WINDOW) + trend * curve, 10) for _ in range(2000)]
        assert abs(np.mean(found)) < 0.05  # without the correction it is -0.14


def test_its_sign_is_that_of_the_noise() -> None:
    rng = np.random.default_rng(1)
    assert np.mean([lag1_autocorrelation(ar1(0.9, WINDOW, rng), 10) for _ in range(200)]) > 0.3
    assert np.mean([lag1_autocorrelation(ar1(-0.7, WINDOW, rng), 10) for _ in range(200)]) < -0.3


@pytest.mark.parametrize("curve", [lambda t: 5.0, lambda t: 3 * t, lambda t: t * t, lambda t: 1e8 + t])
def test_a_curve_without_noise_is_no_autocorrelation(curve) -> None:
    assert lag1_autocorrelation([curve(t) for t in range(WINDOW)], 10) == 0.0


def test_there_is_none_before_there_are_enough_scores() -> None:
    assert lag1_autocorrelation([1.0, 2.0] * 4 + [1.0], 10) is None
    assert lag1_autocorrelation([1.0, 2.0] * 5, 10) is not None


@pytest.mark.parametrize("scale", [2.0**-30, 2.0**30, 1e-3, 1e3])
def test_statistics_know_no_units(scale: float) -> None:
    rng = np.random.default_rng(4)
    scores = np.concatenate([np.arange(30.0), 10 + rng.normal(size=40), ar1(0.9, 40, rng)])
    plain, other = router(), router()
    assert feed(plain, scores) == feed(other, (scores - 500.0) * scale)
    assert detrended([1e300 * (-1.0) ** i for i in range(12)]).max() < 10


def test_plain_noise_stays_with_spsa_and_a_learning_curve_too() -> None:
    rng = np.random.default_rng(0)
    away, total = 0, 0
    for _ in range(60):
        r = router()
        for score in 100 * (1 - np.exp(-np.arange(120) / 30)) + 3 * rng.normal(size=120):
            r.see(score)
            away += r.active != "spsa"
            total += 1
    assert away < 0.35 * total


@pytest.mark.parametrize(
    "scores, expected",
    [
        (lambda rng: ar1(0.95, 200, rng), "momentum"),
        (lambda rng: (-1.0) ** np.arange(200) + 0.1 * rng.normal(size=200), "backoff"),
        (lambda rng: np.concatenate([np.arange(40.0), np.full(20, 15.0) + rng.normal(size=20)]), "pbt"),
    ],
)
def test_every_route_is_taken_for_its_reason(scores, expected: str) -> None:
    r = router()
    feed(r, scores(np.random.default_rng(2)))
    visited = {switch[2] for switch in feed(router(), scores(np.random.default_rng(2)))}
    assert expected in visited


def test_a_switch_needs_patience_and_confirmation() -> None:
    alternating = [(-1.0) ** i for i in range(40)]
    first = [
        feed(router(patience=p, confirmation=c), alternating)[0][0] for p, c in ((0, 1), (3, 3), (30, 3))
    ]
    assert first[0] == 9  # with the tenth score
    assert first[1] == 11
    assert first[2] == 32


def test_what_is_asked_for_now_and_then_is_not_confirmed() -> None:
    class Flickers(Router):
        turns = 0

        def _target(self, rho, gap) -> str:
            self.turns += 1
            return ("pbt", "pbt", "spsa")[self.turns % 3]

    settings = {"autocorr_threshold": 0.3, "gap_threshold": 0.2, "patience": 0, "min_history": 10}
    assert feed(Flickers(**settings, confirmation=3), range(40)) == []
    assert feed(Flickers(**settings, confirmation=2), range(40)) != []


def test_a_switch_discards_a_half_finished_cycle_and_returns_to_its_base() -> None:
    tuner = make("adaptive", "two_probe", every=1, switch_patience=0, switch_confirmation=1)
    history, params, before = [], dict(START), tuner.active_optimizer
    seen = 0
    for i in range(60):
        history.append(EvalMetrics((-1.0) ** i, {}, i, 0.0))
        was_probing = tuner.is_probing
        centre = None if not was_probing else dict(tuner._active._cycle.centre)
        params = tuner.suggest(HyperparamSet(dict(params)), history).params
        if tuner.active_optimizer != before:
            assert tuner._members[before]._cycle is None
            if was_probing:
                seen += 1
                assert params == centre
                assert not tuner.is_probing
            before = tuner.active_optimizer
    events = tuner.take_events()
    assert events
    assert tuner.take_events() == []
    assert seen >= 1
    kind, numbers = events[0]
    assert (kind, set(numbers)) == ("routed", {"from", "to", "autocorrelation", "gap"})
    assert numbers["from"] == "spsa"
    assert numbers["autocorrelation"] < -0.3


def test_all_members_see_every_evaluation_and_every_trial() -> None:
    tuner = make("adaptive")
    drive(tuner, Quadratic(), 100)
    assert len({member._seen for member in tuner._members.values()}) == 1
    assert tuner.active_optimizer in MEMBERS
    remembered = tuner._members["pbt"]._ancestry.members
    assert len(remembered) >= 4  # from trials of others: it can copy as soon as it is asked for


def test_one_trial_per_interval_whoever_is_active() -> None:
    tuner = make("adaptive", every=6, switch_patience=0, switch_confirmation=1)
    asked = []
    for i in range(60):
        history = [EvalMetrics((-1.0) ** i, {}, i, 0.0, ())]
        trial = tuner.propose(HyperparamSet(dict(START)), history)
        if trial is not None:
            asked.append(i)
            tuner.conclude(trial, [[float(j), j + 0.3, j - 0.1] for j in range(len(trial.arms))], paired=True)
    assert min(np.diff(asked)) >= 6


def test_members_draw_from_streams_of_their_own() -> None:
    tuner = make("adaptive", seed=7)
    states = {str(member.state_dict()["rng"]) for member in tuner._members.values()}
    assert len(states) == len(MEMBERS)


@pytest.mark.parametrize(
    "options",
    [
        {"autocorr_threshold": 1.0},
        {"gap_threshold": 0.0},
        {"switch_patience": -1},
        {"switch_confirmation": 0},
        {"min_history": 4},
        {"min_history": 21},
    ],
    ids=str,
)
def test_impossible_thresholds_are_refused(options: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        make("adaptive", **options)
