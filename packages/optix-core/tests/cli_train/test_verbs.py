from __future__ import annotations

import json
from pathlib import Path

import pytest

SMALL = ("CartPole-v1", "window_size=256", "max_steps=2048", "validation.episodes=4", "confirm_episodes=8")


@pytest.fixture
def trained(optix, tmp_path: Path) -> Path:
    status, _, err = optix("train", *SMALL, "--run-dir", "a")
    assert status == 0, err
    return tmp_path / "a"


def test_training_says_what_it_does_and_what_came_of_it(optix, tmp_path: Path) -> None:
    status, out, err = optix("train", *SMALL, "--seed", "3")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    heads = [line.split()[0] for line in lines]
    assert heads[:5] == ["env", "agent", "params", "budget", "run"]
    assert "linear-agent-plugin:Linear  (chosen by the environment's spaces" in out
    assert "at most 2,048 steps: until converged" in out
    assert heads[-5:] == ["done", "why", "policy", "run", "next"]
    assert "max_steps after 2,048 steps, 8 windows" in out
    assert "over 8 fresh episodes, checkpoint ckpt-" in out
    run = Path(lines[-2].split(maxsplit=1)[1])
    assert run.parts[0] == "optix_runs"
    assert (tmp_path / run / "events.jsonl").is_file()
    assert f"optix resume {run}" in lines[-1]


def test_flags_may_stand_between_settings(optix) -> None:
    status, out, err = optix("train", "noise=0.25", "--seed", "3", *SMALL[:1], "--run-dir", "x", *SMALL[1:])
    assert (status, err) == (0, "")
    assert "noise 0.25" in out
    assert "seed 3" in out


def test_json_is_one_document_and_progress_goes_elsewhere(optix, tmp_path: Path) -> None:
    status, out, err = optix("train", *SMALL, "--json", "--run-dir", "a")
    document = json.loads(out)
    assert status == 0
    assert document["stop_reason"] == "max_steps"
    assert document["steps"] == 2048
    assert document["run_dir"] == str(tmp_path / "a")
    assert (
        document["confirmation"]["low"]
        <= document["confirmation"]["mean"]
        <= document["confirmation"]["high"]
    )
    assert document["config"]["n_envs"] == 1
    assert "budget   at most" in err
    assert "steps  score" in err


def test_equal_seeds_train_equally_and_others_do_not(optix) -> None:
    scores = []
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        _, out, _ = optix("train", *SMALL, "--json", "--seed", seed, "--run-dir", name)
        document = json.loads(out)
        scores.append((document["confirmation"], document["hyperparams"], document["episodes"]))
    assert scores[0] == scores[1] != scores[2]


def test_a_finished_run_has_nothing_to_resume(optix, trained: Path) -> None:
    before = sorted(p.name for p in trained.iterdir())
    status, out, _ = optix("resume", "a")
    assert status == 0
    assert "nothing to do: this run has finished (the budget of 2,048 environment steps is used up" in out
    status, out, _ = optix("resume", "a", "--json")
    assert json.loads(out)["resumed"] is False
    assert sorted(p.name for p in trained.iterdir()) == before


def test_a_larger_budget_continues_and_ends_like_a_run_that_had_it(optix, trained: Path) -> None:
    status, out, err = optix("resume", "a", "max_steps=4096", "--json")
    assert status == 0, err
    continued = json.loads(out)
    assert (continued["steps"], continued["windows"]) == (4096, 16)
    _, out, _ = optix("train", *SMALL, "max_steps=4096", "--json", "--run-dir", "b")
    whole = json.loads(out)
    for name in ("hyperparams", "episodes", "best_score"):
        assert continued[name] == whole[name]


def test_only_limits_may_change_when_a_run_continues(optix, trained: Path) -> None:
    status, _, err = optix("resume", "a", "noise=0.1")
    assert status == 2
    assert (
        "noise cannot change when a run continues; only max_steps, max_episodes, max_seconds, target_score can"
        in err
    )


def test_the_newest_run_is_called_last(optix) -> None:
    optix("train", *SMALL)
    optix("train", *SMALL, "--seed", "9")
    status, out, _ = optix("resume", "last", "--json")
    assert status == 0
    assert "seed9" in json.loads(out)["run_dir"]


def test_evaluation_is_repeatable_and_its_seed_matters(optix, trained: Path) -> None:
    results = [
        json.loads(optix("eval", "a", "--json", "--episodes", "12", *more)[1])
        for more in ((), (), ("--seed", "7"))
    ]
    assert results[0] == results[1]
    assert results[0]["returns"] != results[2]["returns"]
    assert len(results[0]["returns"]) == 12
    assert results[0]["mean"] == pytest.approx(sum(results[0]["returns"]) / 12)
    status, out, _ = optix("eval", "a", "--episodes", "5")
    assert status == 0
    assert "over 5 episodes (seed 1000)" in out


def test_a_checkpoint_can_be_named(optix, trained: Path) -> None:
    names = sorted(p.name for p in trained.glob("ckpt-*"))
    status, out, _ = optix("eval", "a", "--episodes", "2", "--checkpoint", names[0], "--json")
    assert status == 0
    assert json.loads(out)["checkpoint"] == names[0]
    status, _, err = optix("eval", "a", "--checkpoint", "ckpt-nonsense")
    assert status != 0
    assert "ckpt-nonsense" in err


def test_explain_tells_the_run_from_start_to_end(optix, trained: Path) -> None:
    status, out, _ = optix("explain", "a")
    assert status == 0
    assert "start" in out.splitlines()[1]
    assert "end: max_steps" in out.splitlines()[-1]
    assert "new best" in out
    document = json.loads(optix("explain", "a", "--json")[1])
    assert document["story"][0]["decision"] == "start"


def test_config_show_gives_every_value_its_origin(
    optix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("run.toml").write_text('env = "CartPole-v1"\n[agent]\nnoise = 0.25\n')
    monkeypatch.setenv("OPTIX_N_ENVS", "2")
    status, out, err = optix("config", "show", "--config", "run.toml", "seed=4", "--json")
    assert (status, err) == (0, "")
    settings = json.loads(out)["settings"]
    assert settings["env"] == {"value": "CartPole-v1", "from": "run.toml:1"}
    assert settings["agent.noise"] == {"value": 0.25, "from": "run.toml:3"}
    assert settings["n_envs"] == {"value": 2, "from": "environment variable OPTIX_N_ENVS"}
    assert settings["seed"] == {"value": 4, "from": "command line"}
    assert settings["optimizer.max_snapshots"] == {"value": 10, "from": "default"}
    status, out, _ = optix("config", "show", "CartPole-v1")
    assert status == 0
    assert "agent: linear-agent-plugin:Linear" in out
    assert "default of linear-agent-plugin:Linear" in out


def test_config_show_of_a_run_shows_what_it_was_started_with(optix, trained: Path) -> None:
    status, out, err = optix("config", "show", "a")
    assert (status, err) == (0, "")
    assert "a/run.json" in out
    assert "linear-agent-plugin:Linear" in out


def test_a_file_is_trained_like_the_same_words(optix) -> None:
    Path("run.toml").write_text(
        'env = "CartPole-v1"\nwindow_size = 256\nmax_steps = 2048\n'
        "[validation]\nepisodes = 4\n[optimizer]\nconfirm_episodes = 8\n"
    )
    status, out, err = optix("train", "--config", "run.toml", "--json", "--run-dir", "f")
    assert status == 0, err
    _, words, _ = optix("train", *SMALL, "--json", "--run-dir", "w")
    assert json.loads(out)["confirmation"] == json.loads(words)["confirmation"]


def test_help_shows_examples_and_exit_statuses(optix) -> None:
    status, out, _ = optix("train", "--help", plugins=())
    assert status == 0
    assert "optix train CartPole-v1" in out
    assert "130" in out


def test_json_documents_hold_only_what_json_has(optix) -> None:
    def refuse(text: str) -> float:
        raise AssertionError(f"{text} is not JSON")

    few = (
        *SMALL[:-1],
        "confirm_episodes=2",
        "--run-dir",
        "a",
    )  # too few episodes for an interval: it is infinite
    for argv in (("train", *few), ("explain", "a"), ("eval", "a", "--episodes", "2")):
        status, out, err = optix(*argv, "--json")
        assert status == 0, err
        assert json.loads(out, parse_constant=refuse)["schema"] == 1


def _rates(run: Path) -> list[tuple[int, float]]:
    from optix_core.runs.run_directory import RunDirectory

    events = RunDirectory.open(run).log().read()
    return [(e.step, e.numbers["changed"]["noise"][1]) for e in events if e.kind == "tuned"]


def test_a_runs_schedule_is_replayed_with_its_settings_and_another_seed(optix, tmp_path: Path) -> None:
    recorded = (*SMALL, "tuner.mode=two_probe", "tuner.every=2", "confirm_episodes=0")
    status, _, err = optix("train", *recorded, "--run-dir", "a")
    assert status == 0, err
    assert len(_rates(tmp_path / "a")) >= 3
    status, out, err = optix("train", "--replay-schedule", "a", "--seed", "9", "--run-dir", "b", "--json")
    assert status == 0, err
    document = json.loads(out)
    assert document["config"]["tuner"] == {"name": "replay", "run": str(tmp_path / "a")}
    assert (document["seed"], document["steps"], document["config"]["window_size"]) == (9, 2048, 256)
    assert _rates(tmp_path / "b") == _rates(tmp_path / "a")
    status, _, err = optix("resume", "b", "max_steps=2304", "--json")
    assert status == 0, err
    status, out, err = optix("train", "--replay-schedule", "a", *SMALL[:2], "max_steps=512", "--run-dir", "c")
    assert status == 0, err
    assert _rates(tmp_path / "c") == [pair for pair in _rates(tmp_path / "a") if pair[0] <= 512]


def test_what_cannot_be_replayed_is_said(optix, trained: Path) -> None:
    status, _, err = optix("train", "--replay-schedule", "nowhere")
    assert (status, "nowhere" in err) == (2, True)
    status, _, err = optix("train", "--replay-schedule", "a", "tuner.name=fixed")
    assert status == 2
    assert "tuner.name is given besides --replay-schedule" in err
    status, _, err = optix("train", *SMALL, "tuner.name=replay")
    assert status == 2
    assert "needs tuner.run" in err
    assert "--replay-schedule RUN" in err
    (trained / "events.jsonl").unlink()
    status, _, err = optix("train", "--replay-schedule", "a")
    assert status == 2
    assert "has no decision log" in err
