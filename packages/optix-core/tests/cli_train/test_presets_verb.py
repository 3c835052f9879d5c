"""Presets on the command line: listed, shown, used when asked for, and recorded."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from optix_core.presets import all_presets, catalogue, find_preset
from optix_core.presets.catalogue import read_presets
from optix_core.runs.run_directory import RunDirectory

SMALL = ("window_size=256", "max_steps=1024", "validation.episodes=4", "confirm_episodes=8")
LINEAR = """
[[preset]]
name = "cartpole/linear"
summary = "for tests"
environments = ["CartPole-v1"]
algorithm = "Linear"
n_envs = 2
window_size = 128
max_steps = 1024
[preset.agent]
noise = 0.25
[preset.source]
name = "a paper"
where = "table 1"
changed = ["everything"]
"""


@pytest.fixture
def linear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The only preset there is: for the agent of the tests."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "x.toml").write_text(LINEAR, encoding="utf-8")
    found = read_presets(folder)
    monkeypatch.setattr(catalogue, "all_presets", lambda: found)
    return found[0]


def test_list(optix):
    status, out, err = optix("presets", "list")
    assert (status, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == ["NAME", *(p.name for p in all_presets())]
    status, out, _ = optix("presets", "list", "--env", "Pendulum-v1", "--json")
    document = json.loads(out)
    assert document["schema"] == 1
    assert {p["name"] for p in document["presets"]} == {"pendulum/sac", "pendulum/td3", "pendulum/ppo"}
    assert optix("presets", "list", "--env", "Nothing-v0")[1].startswith("no preset is for Nothing-v0")


def test_list_says_whose_agent_is_installed(optix, linear):
    assert optix("presets", "list")[1].splitlines()[1].split()[:5] == [
        "cartpole/linear", "CartPole-v1", "Linear", "1,024", "yes"
    ]  # fmt: skip
    assert optix("presets", "list", plugins=("--plugins", ""))[1].splitlines()[1].split()[4] == "no"


def test_show(optix):
    status, out, _ = optix("presets", "show", "cartpole/ppo")
    assert status == 0
    for text in (
        "source    facts from rl-baselines3-zoo",
        "changed   ",
        "published 500",
        "agent.gamma",
        "0.98",
    ):
        assert text in out
    document = json.loads(optix("presets", "show", "cartpole/ppo", "--json")[1])
    assert document["settings"]["agent"]["gamma"] == 0.98
    assert document["digest"] == find_preset("cartpole/ppo").digest


@pytest.mark.parametrize("preset", all_presets(), ids=lambda p: p.name)
def test_show_as_a_file_holds_the_same_settings(optix, preset):
    data = tomllib.loads(optix("presets", "show", preset.name, "--toml")[1])
    expected = {name: value for name, value in preset.settings().items() if value is not None}
    assert data == {"env": preset.environments[0], **expected}


def test_wrong_names(optix):
    status, _, err = optix("presets", "show", "cartpole/pop")
    assert status == 2
    assert "Did you mean 'cartpole/ppo'" in err
    status, _, err = optix("train", "Pendulum-v1", "--preset", "cartpole/ppo")
    assert status == 2
    assert "optix presets show cartpole/ppo --toml" in err
    assert optix("presets", "show", "cartpole/ppo", "--toml", "--json")[0] == 2


def test_training_uses_a_preset_when_asked_and_says_so(optix, linear, tmp_path: Path):
    status, out, err = optix("train", "CartPole-v1", "--preset", "auto", *SMALL, "--run-dir", "a")
    assert (status, err) == (0, "")
    assert "preset   cartpole/linear: facts from a paper, table 1" in out
    assert "noise 0.25" in out
    assert "x 2, seed" in out
    run = RunDirectory.open(tmp_path / "a")
    assert run.info.config["preset"] == linear.record()
    assert run.info.config["train"]["preset"] == linear.record()
    assert run.info.config["train"]["window_size"] == 256  # what was typed wins
    started = next(event for event in run.log().read() if event.kind == "started")
    assert started.numbers["preset"] == linear.record()
    assert "preset cartpole/linear (facts from a paper, table 1)" in optix("explain", "a")[1]


def test_a_run_is_resumed_without_the_preset_it_was_started_with(optix, linear, tmp_path, monkeypatch):
    assert optix("train", "--preset", "cartpole/linear", *SMALL, "--run-dir", "a")[0] == 0
    monkeypatch.setattr(catalogue, "all_presets", tuple)
    status, out, err = optix("resume", "a", "max_steps=2048")
    assert (status, err) == (0, "")
    assert "noise 0.25" in out
    assert "preset   cartpole/linear" in out


def test_without_asking_no_preset_is_used(optix, linear, tmp_path: Path):
    status, out, _ = optix("train", "CartPole-v1", *SMALL, "--run-dir", "a")
    assert status == 0
    assert "preset" not in out
    assert RunDirectory.open(tmp_path / "a").info.config["train"]["preset"] is None


def test_config_show_says_what_the_preset_set(optix, linear):
    status, out, _ = optix("config", "show", "CartPole-v1", "preset=auto", "noise=0.5", "--json")
    assert status == 0
    settings = json.loads(out)["settings"]
    assert settings["n_envs"] == {"value": 2, "from": "preset cartpole/linear"}
    assert settings["agent.noise"] == {"value": 0.5, "from": "command line"}
    assert settings["preset.name"] == {"value": "cartpole/linear", "from": "auto (from command line)"}
