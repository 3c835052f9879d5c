"""``optix tune``: the table, the winner, its file, and that the file does what was promised."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytest.importorskip("optuna")

QUICK = ("tune", "CartPole-v1", "window_size=64", "--trials", "3", "--trial-steps", "200", "--top-k", "2")
QUICK = (*QUICK, "--confirm-seeds", "3", "--storage", "journal:trials.log", "optimizer.confirm_episodes=4")


def test_the_winner_is_confirmed_told_and_written(optix):
    status, out, err = optix(*QUICK, "--study", "night", "validation.episodes=3")
    assert (status, err) == (0, "")
    assert "search   noise log_float 0.01 2.0" in out
    assert out.count("trial    ") == 3
    assert re.search(r"^trial +state +score +steps +noise$", out, re.MULTILINE)
    assert re.search(r"^score    \S+ \[\S+, \S+\] over 3 fresh seeds$", out, re.MULTILINE)
    assert re.search(r"^optimism \S+ \[\S+, \S+\]: the search promised \S+$", out, re.MULTILINE)
    assert "second   " in out
    assert "next     optix train --config night.toml" in out
    written = tomllib.loads(Path("night.toml").read_text())
    assert written["algorithm"] == "linear-agent-plugin:Linear"
    assert written["validation"] == {"episodes": 3}
    assert written["tuner"] == {"name": "fixed"}
    assert 0.01 <= written["agent"]["noise"] <= 2.0
    status, out, err = optix("train", "--config", "night.toml", "max_steps=200", "--run-dir", "main")
    assert status == 0
    assert f"noise {written['agent']['noise']:.4g}" in out


@pytest.mark.parametrize("words", [QUICK, QUICK[:-1]], ids=["own confirmation", "usual confirmation"])
def test_a_reported_score_can_be_repeated(optix, words):
    status, out, _ = optix(*words, "--study", "s", "--json")
    assert status == 0
    found = json.loads(out)
    winner = found["winner"]
    command = next(
        line for line in Path("s.toml").read_text().splitlines() if line.startswith("# optix train")
    )
    words = command.removeprefix("# optix ").split()
    seed = words.index("--seed") + 1
    assert words[seed] == str(winner["fresh_seeds"][0])
    for i, score in enumerate(winner["fresh_scores"][:2]):
        words[seed] = str(winner["fresh_seeds"][i])
        status, out, _ = optix(*words, "--json")
        assert status == 0
        assert json.loads(out)["confirmation"]["mean"] == score


def test_the_document_has_every_number(optix):
    status, out, err = optix(*QUICK, "--json", "--seeds", "2", "--aggregate", "iqm", "--out", "deep/w.toml")
    assert status == 0
    found = json.loads(out)
    assert "trial    0" in err
    assert found["schema"] == 1
    assert [t["steps"] for t in found["trials"]] == [400] * 3
    assert found["steps"] == 3 * 400 + 2 * 3 * 200
    assert found["config_file"] == "deep/w.toml"
    assert found["winner"]["optimism"]["difference"] == pytest.approx(
        found["winner"]["search_score"] - found["winner"]["score"]
    )
    assert found["runner_up"]["episodes"] == 3
    assert Path("deep/w.toml").is_file()


def test_a_study_is_continued_by_its_name(optix):
    optix(*QUICK, "--study", "s")
    status, out, _ = optix(*QUICK, "--study", "s", "--trials", "4", "--json")
    assert status == 0
    assert len(json.loads(out)["trials"]) == 4
    status, _, err = optix(*QUICK, "--study", "s", "--seed", "5")
    assert status == 2
    assert "other settings (seed was 0 and is 5)" in err


def test_the_main_run_begins_with_the_winners_weights(optix):
    status, out, _ = optix(*QUICK, "--run", "max_steps=300", "--run-dir", "main", "--json")
    assert status == 0
    found = json.loads(out)
    first = json.loads(Path("main/events.jsonl").read_text().splitlines()[0])
    assert first["kind"] == "warm_start"
    assert first["params"] == found["tune"]["winner"]["params"] == {"noise": found["hyperparams"]["noise"]}
    assert first["weights"] is True
    assert found["steps"] == 300
    assert found["run_dir"].endswith("main")


def test_ranges_can_be_given_and_values_kept(optix):
    status, out, _ = optix(*QUICK, "--search", "noise=float:0.1:0.2", "--json")
    assert status == 0
    assert all(0.1 <= t["params"]["noise"] <= 0.2 for t in json.loads(out)["trials"])
    status, _, err = optix(*QUICK, "noise=0.5")
    assert status == 2
    assert "nothing is left to search" in err
    status, out, _ = optix(*QUICK, "noise=0.5", "--search", "noise", "--json")
    assert status == 0
    assert len({t["params"]["noise"] for t in json.loads(out)["trials"]}) == 3


@pytest.mark.parametrize("words, says", [
    (("--search", "noise=float:2"), "two finite numbers"),
    (("--search", "noise=float:2:1"), "lo < hi"),
    (("--search", "noise=floot:1:2"), "log_float:1e-4:1e-2"),
    (("--search", "noise="), "must read like"),
    (("--search", "nose"), "Did you mean 'noise'"),
    (("--search", "noise", "--search", "noise=float:1:2"), "twice"),
    (("--search", "n_envs=int:1:4"), "no hyperparameter"),
    (("--trials", "0"), "n_trials is 0"),
    (("--storage", "trials.db"), "sqlite:///trials.db"),
    (("--pruner", "no"), "invalid choice"),
    (("nose=3",), "noise"),
])  # fmt: skip
def test_wrong_usage_ends_with_2_before_anything_is_trained(optix, words, says):
    status, out, err = optix(*QUICK, *words)
    assert status == 2
    assert says in err
    assert "trial    " not in out


def test_a_file_of_somebody_else_is_not_overwritten(optix):
    Path("mine.toml").write_text('env = "CartPole-v1"\n')
    status, _, err = optix(*QUICK, "--out", "mine.toml")
    assert status == 2
    assert "mine.toml exists" in err
    assert Path("mine.toml").read_text() == 'env = "CartPole-v1"\n'
    optix(*QUICK, "--out", "ours.toml")
    assert optix(*QUICK, "--out", "ours.toml")[0] == 0


def test_an_environment_that_fails_ends_the_search_with_its_traceback(optix):
    status, out, err = optix(
        "tune", "faulty_envs:Raises-v0", "--allow-import", "window_size=16", "--trial-steps", "64",
        "--storage", "journal:trials.log", "--study", "s",
    )  # fmt: skip
    assert status == 1
    assert "3 failures in a row" in err
    assert "ZeroDivisionError: the simulator fell over" in err
    assert out.count("failed after") == 3
    assert not Path("s.toml").exists()


def test_ctrl_c_keeps_the_study_and_says_how_to_go_on(optix, tmp_path):
    plugin = Path(__file__).parent / "plugin"
    env = {**os.environ, "PYTHONPATH": str(plugin), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "optix_core", "--plugins", "", "-p", "linear_agent_plugin", *QUICK]
    command += ["--trials", "500", "--study", "long"]
    child = subprocess.Popen(
        command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for line in child.stdout:
        if line.startswith("trial    1"):
            child.send_signal(signal.SIGINT)
            break
    _, err = child.communicate(timeout=120)
    assert child.returncode == 130
    assert "--study long" in err
    status, out, _ = optix(*QUICK, "--trials", "4", "--study", "long", "--json")
    assert status == 0
    states = [t["state"] for t in json.loads(out)["trials"]]
    assert sum(s in {"complete", "pruned"} for s in states) >= 4
    assert "running" not in states
