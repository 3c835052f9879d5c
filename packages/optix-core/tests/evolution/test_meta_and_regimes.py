"""What the score history calls for, whatever its unit and zero."""

from __future__ import annotations

import numpy as np
import pytest

from optix_core.errors import ConfigError
from optix_core.evolution import MetaAction, MetaController, RegimeDetector

GO = {"budget_exhausted": False, "fruitless": 0}


def test_priorities(metrics):
    meta = MetaController()
    flat, rising = [5.0] * 10, list(np.arange(10.0))
    assert meta.decide(metrics(flat), {"budget_exhausted": True}) is MetaAction.STOP
    assert meta.decide(metrics(flat), GO | {"fruitless": 3}) is MetaAction.STOP
    assert meta.decide(metrics(flat), GO | {"fruitless": 2}) is MetaAction.SPAWN
    assert meta.decide(metrics(flat[:2]), GO) is MetaAction.NO_OP
    assert meta.decide(metrics(rising), GO) is MetaAction.NO_OP
    assert meta.decide(metrics(flat), GO) is MetaAction.SPAWN
    assert meta.decide(metrics(flat), {}) is MetaAction.SPAWN
    assert meta.decide(metrics(list(np.arange(10.0)[::-1])), GO) is MetaAction.SPAWN
    assert meta.decided[:3] == ("STOP", "STOP", "SPAWN")


def test_a_gap_or_its_growth_prunes(metrics):
    meta = MetaController()
    scores = [*np.linspace(0.0, 10.0, 20)]
    assert meta.decide(metrics(scores, [0.0] * 20), GO) is MetaAction.NO_OP
    assert meta.decide(metrics(scores, [4.0] * 20), GO) is MetaAction.PRUNE
    growing = [0.0] * 10 + [0.3 * i for i in range(10)]
    assert meta.decide(metrics(scores, growing), GO) is MetaAction.PRUNE
    assert meta.numbers["gap_slope"] > 0.02
    assert meta.numbers["gap"] < 0.2
    worse_in_training = [-9.0] * 20
    assert meta.decide(metrics(scores, worse_in_training), GO) is MetaAction.NO_OP


@pytest.mark.parametrize("unit, zero", [(1e-3, 0.0), (1e3, 0.0), (1.0, -500.0), (1.0, -7.5)])
def test_decisions_depend_on_neither_unit_nor_zero(metrics, unit, zero):
    rng = np.random.default_rng(2)
    here, there = [], []
    for _ in range(60):
        n = int(rng.integers(2, 25))
        scores = rng.normal(0.0, 1.0, n) + rng.choice([0.0, 0.3, -0.3]) * np.arange(n)
        gaps = list(rng.normal(0.0, 0.5, n))
        plain = metrics(scores, gaps)
        moved = metrics(unit * scores + zero, [unit * g for g in gaps])
        here.append((MetaController().decide(plain, GO), RegimeDetector().detect(plain)))
        there.append((MetaController().decide(moved, GO), RegimeDetector().detect(moved)))
    assert there == here
    assert len(set(here)) > 3


def test_scores_that_are_not_finite_are_no_evidence(metrics):
    assert MetaController().decide(metrics([np.nan] * 9 + [1.0, 2.0]), GO) is MetaAction.NO_OP
    assert RegimeDetector().detect(metrics([np.nan] * 9)) == "ranging"


@pytest.mark.parametrize(
    "option", ["gap_threshold", "gap_slope_threshold", "improvement_threshold", "window"]
)
def test_bad_thresholds_are_refused(option):
    with pytest.raises(ConfigError, match=option):
        MetaController(**{option: 0})


def test_a_meta_controller_remembers():
    meta, other = MetaController(), MetaController()
    for _ in range(3):
        meta.decide([], {"budget_exhausted": True})
    other.load_state_dict(meta.state_dict())
    assert other.decided == ("STOP",) * 3
    with pytest.raises(ValueError, match="GROW"):
        other.load_state_dict({"decided": ["GROW"]})


# ------------------------------------------------------------------ regimes


def test_rising_and_falling_are_trends(metrics):
    detector, rng = RegimeDetector(), np.random.default_rng(0)
    noise = 0.2 * rng.normal(size=30)
    assert detector.detect(metrics(np.arange(30.0) + noise)) == "trending"
    assert detector.direction == 1
    assert detector.detect(metrics(-np.arange(30.0) + noise)) == "trending"
    assert detector.direction == -1
    assert detector.detect(metrics(np.arange(10.0))) == "trending"


def test_scatter_is_measured_against_the_range_and_not_against_the_mean(metrics):
    detector, rng = RegimeDetector(), np.random.default_rng(0)
    climb = list(np.linspace(-50.0, 0.0, 40))
    assert (
        detector.detect(metrics([*climb, *(0.5 * np.resize([1, -1, -1, 1], 15))])) == "ranging"
    )  # the mean is near zero
    assert detector.direction == 0
    assert detector.detect(metrics([*climb, *(20.0 * rng.normal(size=15))])) == "volatile"
    assert detector.detect(metrics([3.0] * 20)) == "ranging"
    assert detector.detect(metrics([1.0, 5.0])) == "ranging"


def test_flat_noise_is_called_a_trend_at_the_rate_that_was_asked_for(metrics):
    """With the range of an earlier climb, 1,000 flat stretches: the two-sided test errs at about its 5 %."""
    rng, detector = np.random.default_rng(3), RegimeDetector()
    climb = list(np.linspace(-100.0, 0.0, 10))
    found = [detector.detect(metrics([*climb, *rng.normal(size=10)])) for _ in range(1000)]
    assert set(found) == {"ranging", "trending"}
    assert found.count("trending") / 1000 < 0.09


@pytest.mark.parametrize("options", [{"volatility_threshold": 0}, {"trend_threshold": 1.0}, {"window": 2}])
def test_bad_options_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        RegimeDetector(**options)
