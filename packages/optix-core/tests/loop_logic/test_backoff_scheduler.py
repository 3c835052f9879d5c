from __future__ import annotations

import json
import math

import numpy as np
import pytest

from optix_core.errors import ConfigError
from optix_core.loop.backoff_scheduler import BackoffScheduler
from optix_core.loop.records import WindowReport
from optix_core.types import LoopState


def test_a_perfect_ramp_always_improves_by_hand():
    scheduler = BackoffScheduler()
    for k in range(200):
        scheduler.record_score(100.0 + k)
        assert scheduler.is_improving(), k
        scheduler.record_improvement(100.0 + k)
    assert scheduler.total_episodes == 200, "each score counts once"
    assert len(scheduler.snapshot.scores) == 200


def test_record_improvement_alone_remembers_its_score():
    scheduler = BackoffScheduler()
    scheduler.record_improvement(3.0)
    assert scheduler.snapshot.scores == (3.0,)
    assert scheduler.best_score == 3.0


def test_the_best_is_never_lowered():
    scheduler = BackoffScheduler()
    for score in [*range(0, 101, 10), 1.0, 2.0, 3.0, 9.0]:
        scheduler.record_score(float(score))
        scheduler.record_improvement(float(score))
    assert scheduler.best_score == 100.0


def test_counters_states_and_interval():
    scheduler = BackoffScheduler(plateau_threshold=2, dormant_threshold=8, max_interval_episodes=6)
    states, intervals = [], []
    for _ in range(8):
        scheduler.record_non_improvement()
        states.append(scheduler.current_state)
        intervals.append(scheduler.current_interval)
    assert states == [LoopState.ACTIVE, *[LoopState.COOLING] * 6, LoopState.DORMANT]
    assert intervals == [2, 4, 6, 6, 6, 6, 6, 6]
    assert scheduler.consecutive_non_improvements == 8
    scheduler.record_restart()
    assert scheduler.current_state is LoopState.ACTIVE
    assert scheduler.current_interval == 1
    scheduler.record_non_improvement()
    scheduler.record_degradation()
    assert scheduler.consecutive_non_improvements == 0
    assert scheduler.current_interval == 1


def test_only_expensive_actions_are_paced():
    scheduler = BackoffScheduler(base_interval=4)
    assert [n for n in range(10) if scheduler.should_adapt(n)] == [0, 4, 8]


def test_check_degradation_with_a_given_threshold():
    scheduler = BackoffScheduler(degradation_threshold=0.95)
    scheduler.record_improvement(-100.0)
    assert not scheduler.check_degradation(-104.0)
    assert scheduler.check_degradation(-106.0)
    assert not scheduler.check_degradation(math.nan)


def test_degradation_and_convergence_by_hand():
    rng = np.random.default_rng(0)
    scheduler = BackoffScheduler()
    for k in range(120):
        scheduler.record_score(min(k * 10.0, 500.0) + float(rng.normal()))
    assert scheduler.is_converged()
    assert not scheduler.is_degrading()
    assert not scheduler.check_degradation(500.0)
    for _ in range(2):
        scheduler.record_score(50.0)
    assert scheduler.check_degradation(50.0)
    scheduler.record_score(50.0)
    assert scheduler.is_degrading()


def test_a_nan_is_counted_and_never_remembered():
    scheduler = BackoffScheduler()
    scheduler.record_score(math.nan)
    scheduler.record_improvement(math.inf)
    assert scheduler.total_episodes == 0
    assert scheduler.best_score is None


def test_steps_survive_a_checkpoint():
    rng = np.random.default_rng(1)
    one = BackoffScheduler(probe=False)
    reports = [WindowReport(window=i, windows=i + 1, score=float(rng.normal())) for i in range(120)]
    for report in reports[:60]:
        one.step(report)
    other = BackoffScheduler(probe=False)
    other.load_state_dict(json.loads(json.dumps(one.state_dict())))
    assert [one.step(r) for r in reports[60:]] == [other.step(r) for r in reports[60:]]


def test_a_wrong_state_changes_nothing():
    scheduler = BackoffScheduler()
    scheduler.record_improvement(1.0)
    before = scheduler.snapshot
    with pytest.raises(ValueError, match="snapshot"):
        scheduler.load_state_dict({})
    assert scheduler.snapshot is before


def test_configure_keeps_what_the_controller_leaves_at_its_default():
    scheduler = BackoffScheduler(delta=0.01, target_score=475.0)
    scheduler.configure(cv_threshold=0.05, target_score=None, gap_threshold=0.3)
    assert scheduler.config.gain_share == 0.01
    assert scheduler.config.target_score == 475.0
    assert scheduler.config.gap_threshold == 0.3
    with pytest.raises(ConfigError, match="no option patience"):
        scheduler.configure(patience=3)
    with pytest.raises(ConfigError, match="no option patience"):
        BackoffScheduler(patience=3)
