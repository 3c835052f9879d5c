from __future__ import annotations

import json
from pathlib import Path

from optix_core.runs.decision_log import DecisionLog
from optix_core.runs.explain import as_text, explain_run, story
from optix_core.runs.run_directory import RunDirectory


def decision(**changes: object) -> dict:
    return {
        "verdict": "STEADY",
        "actions": [],
        "stop": None,
        "stop_sentence": None,
        "state": "ACTIVE",
        "transitions": [],
        "events": [],
        "numbers": {"score": 10.0, "best": 10.0},
        **changes,
    }


def tell(folder: Path, *events: tuple[str, dict]) -> list[tuple[str, str]]:
    log = DecisionLog(folder / "events.jsonl")
    for i, (kind, numbers) in enumerate(events):
        log.write(kind, window=i, step=i * 2048, **numbers)
    return [(chapter.decision, chapter.because) for chapter in story(log.read())]


def test_what_decided_nothing_is_left_out(tmp_path: Path) -> None:
    told = tell(
        tmp_path, ("window", {"train_return": 3.0}), ("decision", decision()), ("decision", decision())
    )
    assert told == []


def test_each_new_best_says_from_where_to_where(tmp_path: Path) -> None:
    told = tell(
        tmp_path,
        ("decision", decision(actions=["SAVE_BEST"], numbers={"best": 212.0, "score_se": 8.25})),
        ("decision", decision(actions=["SAVE_BEST", "TUNE"], numbers={"best": 305.5, "score_se": None})),
    )
    assert told == [
        ("new best", "score 212, standard error 8.25"),
        ("new best", "score 212 -> 305.5"),
    ]


def test_transitions_name_states_and_the_numbers_behind_them(tmp_path: Path) -> None:
    numbers = {
        "slope": -0.1,
        "slope_se": 0.9,
        "window": 40,
        "non_improvements": 5,
        "level": 401.0,
        "score": 188.0,
        "drop": 213.0,
        "noise_sd": 11.0,
    }
    told = tell(
        tmp_path,
        ("decision", decision(transitions=[["ACTIVE", "COOLING", "plateau"]], numbers=numbers)),
        ("decision", decision(transitions=[["COOLING", "ACTIVE", "degraded"]], numbers=numbers)),
        ("rolled_back", {"snapshot": "ckpt-3", "score": 401.0}),
    )
    assert told == [
        (
            "ACTIVE -> COOLING",
            "5 evaluations in a row without improvement; slope -0.1 +- 0.9 per evaluation over 40 evaluations",
        ),
        ("COOLING -> ACTIVE", "the score fell to 188, below the level 401 (by 213, noise 11)"),
        ("rollback", "restored ckpt-3 (score 401) with its optimizer"),
    ]


def test_every_rule_of_the_state_machine_has_a_sentence() -> None:
    from optix_core.loop.transition_table import TRANSITIONS
    from optix_core.runs.sentences import RULES

    assert set(RULES) == set(TRANSITIONS)
    assert all(RULES[name]({}) for name in RULES)  # whatever numbers are missing


def test_every_event_of_the_loop_has_a_sentence() -> None:
    import re

    from optix_core import loop
    from optix_core.runs.sentences import TELLERS

    source = "".join(path.read_text() for path in Path(str(loop.__file__)).parent.glob("*.py"))
    logged = set(re.findall(r'\.log\(\s*"(\w+)"', source)) | {"finished", "interrupted"}
    assert logged - {"window", "decision"} <= set(TELLERS)
    assert all(
        decided and isinstance(because, str) for decided, because in (tell({}) for tell in TELLERS.values())
    )


def test_trials_probes_and_tuning_tell_their_intervals(tmp_path: Path) -> None:
    arms = [{"learning_rate": 1e-3}, {"learning_rate": 1e-4}]
    details = {
        "difference": 18.0,
        "low": 2.0,
        "high": 35.0,
        "episodes": 10,
        "paired": True,
        "outcome": "decided",
    }
    told = tell(
        tmp_path,
        (
            "trial",
            {
                "arms": arms,
                "windows": 2,
                "scores": [120.0, None],
                "kept_arm": 0,
                "committed": True,
                "details": details,
            },
        ),
        ("tuned", {"changed": {"learning_rate": [1e-3, 8e-4]}, "not_taken": {"gamma": [0.98, 0.99]}}),
        (
            "probe",
            {
                "gain": -1.5,
                "gain_lower": -4.0,
                "episodes": 10,
                "windows": 4,
                "arms": [{}, {}],
                "skipped": None,
            },
        ),
        ("probe", {"gain": float("nan"), "skipped": "the budget does not cover every arm"}),
    )
    assert told == [
        (
            "trial: moved",
            (
                "2 branches of 2 windows scored 120, unknown; difference 18 [2, 35] on 10 paired episodes; decided; "
                "kept the weights of branch 1"
            ),
        ),
        ("tuned", "learning_rate 0.001 -> 0.0008; not taken by the agent: gamma (wanted 0.98, has 0.99)"),
        ("probe", "2 branches of 4 windows: best gain -1.5, at least -4 (10 episodes): no confirmed gain"),
        ("probe skipped", "the budget does not cover every arm"),
    ]


def test_the_end_says_what_was_confirmed_and_how_optimistic_selection_was(tmp_path: Path) -> None:
    confirmed = {"mean": 499.1, "low": 497.6, "high": 500.0, "episodes": 50, "snapshot_id": "ckpt-7"}
    confirmed["selected_score"] = 500
    told = tell(
        tmp_path,
        ("started", {"budget": {"max_steps": 100000, "max_windows": None}, "hyperparams": {"gamma": 0.99}}),
        (
            "finished",
            {
                "reason": "converged",
                "message": "it is done",
                "confirmation": {**confirmed, "selected_score": 500},
            },
        ),
    )
    assert told == [
        ("start", "budget: max_steps 100,000; gamma 0.99"),
        (
            "end: converged",
            (
                "it is done; policy ckpt-7 confirmed on 50 fresh episodes: 499.1 [497.6, 500]; "
                "it had been chosen for 500 (optimism of selection 0.9)"
            ),
        ),
    ]


def test_a_run_is_explained_from_its_directory_as_text_and_as_data(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, name="r")
    run.log().write("resumed", window=3, step=6144)
    chapters = explain_run(run.path)
    assert as_text(chapters) == [
        "#  window   step  decision  because",
        "1       3  6,144  resumed   continued from the newest checkpoint",
    ]
    assert json.loads(json.dumps([c.to_dict() for c in chapters]))[0]["step"] == 6144


def test_long_reasons_wrap_under_themselves(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "events.jsonl")
    log.write("failed", window=1, step=2, error="word " * 30)
    lines = as_text(story(log.read()), width=80)
    assert len(lines) > 3
    assert max(map(len, lines)) < 80
    assert lines[2].startswith(" " * lines[1].index("word"))
