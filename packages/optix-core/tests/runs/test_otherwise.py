"""What would have changed a decision, and that no event is ever left out of the story."""

from __future__ import annotations

from typing import Any

import pytest

from optix_core.loop.stop_reason import StopReason
from optix_core.loop.transition_table import TRANSITIONS
from optix_core.runs.decision_log import LogEvent
from optix_core.runs.explain import Storyteller, as_text, story
from optix_core.runs.otherwise import otherwise
from optix_core.runs.sentences import TELLERS

BOUND = {"gain_upper": 0.8, "delta_abs": 1.2, "delta": 0.05}


def event(kind: str, window: int = 3, **numbers: Any) -> LogEvent:
    return LogEvent(window, kind, window, window * 100, 0.0, numbers)


def decision(window: int = 3, **changes: Any) -> LogEvent:
    return event("decision", window, **{"verdict": "STEADY", "numbers": {}} | changes)


def near(kind: str, **numbers: Any) -> str:
    [chapter] = Storyteller().tell(event(kind, **numbers))
    return chapter.otherwise


def test_convergence_names_the_bound_and_the_delta_that_would_have_gone_on():
    [chapter] = Storyteller().tell(
        decision(stop="CONVERGED", stop_sentence="converged: ...", numbers=BOUND, verdict="STEADY")
    )
    assert chapter.kind == "stop"
    assert chapter.otherwise == (
        "the gain bound 0.8 was below delta 1.2; a bound above 1.2 would have gone on, and so would a delta below "
        "0.03333 (it was 0.05)"
    )
    # the claim is true: with that delta, the amount asked for is what the bound was
    assert pytest.approx(0.8, rel=1e-3) == 0.03333 * 1.2 / 0.05


def test_where_the_run_stops_the_stop_says_it_once():
    both = {"transitions": [["COOLING", "DORMANT", "converged"]], "numbers": BOUND}
    state, stop = Storyteller().tell(decision(stop="CONVERGED", stop_sentence="converged", **both))
    assert (state.otherwise, stop.otherwise != "") == ("", True)
    [state] = Storyteller().tell(decision(**both))  # with keep_watching, for example
    assert "1.2" in state.otherwise


def test_a_probe_says_how_much_was_missing():
    assert "it was 2.5 short" in near("probe", gain=1.0, gain_lower=-2.5)
    assert "of at most 0 (it was 0.5)" in near("probe", gain=1.0, gain_lower=0.5)
    assert near("probe", skipped="no validation")
    after = otherwise("stop:CONVERGED_AFTER_PROBE", BOUND | {"probe_gain_lower": -1.0})
    assert "its lower bound was -1" in after


def test_trials_say_which_difference_would_have_been_enough():
    undecided = {"difference": 3.0, "low": -2.0, "high": 8.0}
    assert near("trial", committed=False, details=undecided) == (
        "an interval without 0 would have moved: a difference beyond 5, 2 more than it was"
    )
    moved = {"difference": 7.0, "low": 2.0, "high": 12.0}
    assert "it ended 2 away" in near("trial", committed=True, details=moved)
    worse = {"difference": -7.0, "low": -12.0, "high": -2.0}
    assert "it ended 2 away" in near("trial", committed=True, details=worse)
    assert near("trial", committed=False, details={"outcome": "both arms diverged"})


def test_a_drop_is_told_in_standard_errors():
    numbers = {"drop": 10.0, "drop_scale": 2.0, "step": 4.0, "step_scale": 2.0, "drop_floor": 1.5}
    [chapter] = Storyteller().tell(
        decision(verdict="DEGRADED", transitions=[["COOLING", "ACTIVE", "degraded"]], numbers=numbers)
    )
    assert "the drop was 5 standard errors" in chapter.otherwise
    assert "the jump was 2 standard errors" in chapter.otherwise
    assert "less than 1.5" in chapter.otherwise


def test_a_new_best_names_the_score_to_beat():
    teller = Storyteller()
    [first] = teller.tell(decision(actions=["SAVE_BEST"], numbers={"best": 2.0}))
    [second] = teller.tell(decision(actions=["SAVE_BEST"], numbers={"best": 3.0}))
    assert first.otherwise == ""
    assert second.otherwise == "a score of 2 or less would not have been stored"


@pytest.mark.parametrize(
    "kind,numbers,expected",
    [
        ("routed", {"from": "spsa", "to": "momentum", "autocorrelation": 0.7, "gap": 0.0}, "it was 0.7"),
        ("routed", {"from": "spsa", "to": "pbt", "autocorrelation": None, "gap": -0.4}, "it was 0.4"),
        ("routed", {"from": "spsa", "to": "backoff", "autocorrelation": -0.6, "gap": 0.0}, "it was -0.6"),
        ("diagnostic", {"rule": "ENTROPY_COLLAPSE", "text": "x"}, "entropy_floor"),
        ("meta", {"action": "SPAWN", "improvement_rate": 0.25}, "improvement_threshold (it was 0.25)"),
        ("variant", {"replaced": False, "low": -2.5, "high": 1.0}, "it was 2.5 short"),
        ("variant", {"replaced": True, "low": 2.5, "high": 4.0}, "at most 0 (it was 2.5)"),
        ("tuned", {"cause": "rollback", "changed": {"lr": [1.0, 2.0]}}, "without the rollback"),
        ("meta", {"action": "MetaAction.PRUNE"}, "gap_threshold"),
        ("regime", {"regime": "volatile"}, "volatility_threshold"),
        ("rolled_back", {"snapshot": "a", "score": 1.0}, "rollback_on_degradation"),
        ("spawned", {"variant": 1}, "budget"),
        ("warm_start", {"trial": 3, "params": {"lr": 0.1}, "score": 9.0}, "fresh seeds"),
        ("live", {"dropped": 3}, "buffer"),
        ("anything", {"otherwise": "with a smaller x"}, "with a smaller x"),
    ],
)
def test_every_autonomous_part_says_what_would_have_changed_it(kind, numbers, expected):
    assert expected in near(kind, **numbers)


def test_every_rule_and_every_reason_to_stop_has_an_answer():
    for rule in TRANSITIONS:
        assert rule == "restart" or otherwise(f"rule:{rule}", {}), rule
    for reason in StopReason:
        assert otherwise(f"stop:{reason.name}", {}), reason


def test_an_end_without_a_decision_uses_the_budget_of_the_start():
    teller = Storyteller()
    teller.tell(event("started", budget={"max_steps": 300, "max_windows": None}, hyperparams={}))
    [end] = teller.tell(event("finished", reason="max_steps", message="used up"))
    assert end.otherwise == "a larger max_steps than 300 would have gone on: optix resume RUN max_steps=..."
    teller.tell(decision(stop="MAX_STEPS", stop_sentence="used up", numbers={"max_steps": 300}))
    [end] = teller.tell(event("finished", reason="max_steps", message="used up"))
    assert end.otherwise == ""  # told with the decision


NEW = {
    "routed": {"from": "spsa", "to": "pbt", "autocorrelation": 0.25, "gap": -0.5},
    "replayed": {"schedule": "r1", "changed": {"lr": [0.1, 0.2]}},
    "warm_start": {"trial": 7, "params": {"lr": 0.125}, "score": 461.5},
    "spawned": {"variant": 4, "score": 12.5, "changed": {"lr": [0.5, 0.75]}},
    "variant": {
        "replaced": True,
        "origin": "c3",
        "difference": 7.5,
        "low": 2.5,
        "high": 12.5,
        "episodes": 20,
    },
    "pruned": {"members": [3, 8]},
    "ensemble": {"weights": {"a": 0.25, "b": 0.75}},
    "meta": {"action": "SPAWN", "gap": 0.125, "gap_slope": 0.0625, "improvement_rate": 0.03125},
    "diagnostic": {"rule": "LOSS_SPIKE", "text": "loss 9", "before": {"lr": 0.5}, "after": {"lr": 0.25}},
    "regime": {"regime": "trending", "slope": 0.375},
    "live": {"dropped": 17, "reconnected": 2},
    "rnd": {"eta": 0.625},
    "never_heard_of": {"this": 1.5, "that": {"deep": [1, 2]}},
}


def leaves(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [x for v in value.values() for x in leaves(v)]
    if isinstance(value, list):
        return [x for v in value for x in leaves(v)]
    return [value] if isinstance(value, int | float) else []


@pytest.mark.parametrize("kind", NEW)
def test_all_numbers_of_every_event_are_told(kind):
    [chapter] = story([event(kind, **NEW[kind])])
    text = f"{chapter.decision} {chapter.because}"
    for value in leaves(NEW[kind]):
        assert f"{value:g}" in text, text
    assert kind == "never_heard_of" or kind in TELLERS
    assert chapter.numbers == NEW[kind]


def test_reports_of_every_window_are_told_once_for_each_stretch():
    told = story(
        [event("live", w, dropped=w) for w in (1, 2, 3)]
        + [event("tuned", 3, changed={"lr": [1.0, 2.0]})]
        + [event("live", 4, dropped=4)]
    )
    assert [c.kind for c in told] == ["live", "tuned", "live"]
    assert told[0].because == "dropped 3 (3 reports since window 1)"
    assert told[2].because == "dropped 4"


def test_the_text_shows_it_under_the_reason():
    lines = as_text(story([event("probe", gain=1.0, gain_lower=-2.5)]))
    assert lines[1].endswith("no confirmed gain")
    assert lines[2].strip().startswith("otherwise: a lower bound above 0")
    assert lines[2].index("otherwise") == lines[0].index("because")
