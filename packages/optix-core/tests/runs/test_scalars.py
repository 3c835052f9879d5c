"""Which points an event gives: tags, edges, and what is left out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optix_core.runs.decision_log import DecisionLog, LogEvent
from optix_core.runs.scalars import ScalarReader, number, step_magnitude


def event(kind: str, step: int = 64, **numbers: Any) -> LogEvent:
    return LogEvent(1, kind, 1, step, 0.0, numbers)


def decision(step: int = 64, **changes: Any) -> LogEvent:
    return event("decision", step, **{"verdict": "STEADY", "numbers": {"score": 3.0, "best": 4.0}} | changes)


def test_an_evaluation_gives_its_score_interval_best_and_metrics():
    found = ScalarReader().read(decision(interval=[2.0, 4.5], metrics={"val_score": 3.0, "name": "x"}))
    assert found == {
        "score/primary": 3.0,
        "score/low": 2.0,
        "score/high": 4.5,
        "score/best": 4.0,
        "metrics/val_score": 3.0,
    }


def test_events_are_points_only_when_they_happen():
    reader = ScalarReader()
    into = reader.read(decision(transitions=[["ACTIVE", "COOLING", "plateau"]], state="COOLING"))
    assert into["events/plateau"] == 1.0
    stays = reader.read(decision(128, transitions=[], state="COOLING"))
    assert not [tag for tag in stays if tag.startswith("events/")]
    ends = reader.read(decision(192, transitions=[["COOLING", "DORMANT", "converged"]]))
    assert ends["events/convergence"] == 1.0
    both = reader.read(decision(256, actions=["SAVE_BEST"], verdict="DEGRADED"))
    assert both["events/improvement"] == both["events/degradation"] == 1.0
    assert both["score/at_degradation"] == 3.0


def test_the_answer_to_a_probe_is_no_new_score():
    found = ScalarReader().read(decision(verdict=None, transitions=[["COOLING", "DORMANT", "converged"]]))
    assert found == {"score/best": 4.0, "events/convergence": 1.0}


def test_windows_give_diagnostics_return_speed_and_changed_hyperparameters():
    reader = ScalarReader()
    first = reader.read(event("window", 100, diagnostics={"loss": 0.5}, train_return=None, elapsed=1.0))
    assert first == {"metrics/loss": 0.5}
    second = reader.read(
        event("window", 300, diagnostics={}, train_return=7.0, elapsed=1.5, hyperparams={"lr": 0.1})
    )
    assert second == {"metrics/train_return": 7.0, "metrics/steps_per_second": 400.0, "hyperparams/lr": 0.1}


def test_speed_is_not_measured_across_an_interruption():
    reader = ScalarReader()
    reader.read(event("window", 100, elapsed=1.0))
    reader.read(event("resumed", 100))
    assert reader.read(event("window", 200, elapsed=9.0)) == {}
    assert reader.read(event("window", 300, elapsed=10.0)) == {"metrics/steps_per_second": 100.0}


def test_no_speed_without_time():
    reader = ScalarReader()
    reader.read(event("window", 100, elapsed=1.0))
    assert reader.read(event("window", 200, elapsed=1.0)) == {}


def test_what_a_branch_trained_is_no_metric_of_the_run():
    found = ScalarReader().read(event("window", diagnostics={"loss": 1.0}, train_return=2.0, branch=True))
    assert found == {}


def test_a_diagnostic_that_the_evaluation_repeats_is_one_point():
    reader = ScalarReader()
    reader.read(event("window", 64, diagnostics={"loss": 0.5}))
    assert "metrics/loss" not in reader.read(decision(64, metrics={"loss": 0.5}))
    assert "metrics/loss" in reader.read(decision(128, metrics={"loss": 0.5}))


def test_tuning_gives_values_and_the_size_of_the_step():
    found = ScalarReader().read(event("tuned", changed={"a": [0.1, 0.2], "b": [2.0, 1.0], "c": ["x", "y"]}))
    assert found == {
        "hyperparams/a": 0.2,
        "hyperparams/b": 1.0,
        "spsa/step_magnitude": pytest.approx(math.hypot(1.0, 0.5)),
    }
    assert "spsa/step_magnitude" not in ScalarReader().read(event("tuned", changed={"c": ["x", "y"]}))


def test_a_rollback_is_no_step_of_the_tuner():
    back = event("tuned", changed={"a": [0.1, 0.2]}, cause="rollback")
    assert ScalarReader().read(back) == {"hyperparams/a": 0.2}


def test_start_baseline_live_and_bonus():
    reader = ScalarReader()
    assert reader.read(event("started", hyperparams={"lr": 1, "name": "x", "on": True})) == {
        "hyperparams/lr": 1
    }
    assert reader.read(event("baseline", score=2.0, episodes=10)) == {"score/primary": 2.0}
    assert reader.read(event("live", dropped=3, policy="oldest")) == {"live/dropped": 3.0}
    assert reader.read(event("rnd", eta=0.5)) == {"rnd/eta": 0.5}


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "1", True, [1.0], np.float32("nan")])
def test_what_is_no_finite_number_is_left_out(value):
    assert number(value) is None
    assert ScalarReader().read(event("window", diagnostics={"x": value}, train_return=value)) == {}


@pytest.mark.parametrize("value", [3, 2.5, np.float32(0.1), np.int64(7)])
def test_numbers_live_equal_those_read_back(value, tmp_path):
    log = DecisionLog(tmp_path / "events.jsonl")
    live = ScalarReader().read(log.append("tuned", changed={"x": [value, value]}))
    [stored] = log.read()
    assert ScalarReader().read(stored) == live == {"hyperparams/x": float(value)}


@given(st.dictionaries(st.sampled_from("abcd"), st.tuples(*[st.floats(0.01, 1e3)] * 2), min_size=1))
def test_the_size_of_a_step_does_not_depend_on_units(changed):
    scaled = {name: (old * 64, new * 64) for name, (old, new) in changed.items()}
    assert step_magnitude(scaled) == pytest.approx(step_magnitude(changed))
    assert step_magnitude({name: (new, new) for name, (_, new) in changed.items()}) == 0.0
