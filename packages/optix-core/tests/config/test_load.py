from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optix_core.config import TrainConfig, config_to_dict, load_config
from optix_core.config.load import read_file
from optix_core.config.schema import TOP, optimizer_fields
from optix_core.config.toml_reader import read_toml
from optix_core.config.yaml_reader import read_yaml
from optix_core.errors import ConfigError

TOML = """\
# a comment with env = "other"
env = "CartPole-v1"
seed = 3
max_steps = 1e5

[agent]
learning_rate = 1e-3
hidden_sizes = [
    64,  # env = 4
    64,
]

[optimizer]
delta = 0.02
target_score = 475

[tuner]
name = "spsa"
every = 6
"""


def write(folder: Path, text: str, name: str = "run.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def load(folder: Path, text: str, name: str = "run.toml", **options: object) -> TrainConfig:
    return load_config(write(folder, text, name), environ={}, **options)  # type: ignore[arg-type]


def test_a_file_is_read_with_its_types(tmp_path: Path) -> None:
    config = load(tmp_path, TOML)
    assert (config.env, config.seed, config.max_steps, config.target_score) == (
        "CartPole-v1",
        3,
        100_000,
        475.0,
    )
    assert isinstance(config.max_steps, int)
    assert config.agent == {"learning_rate": 1e-3, "hidden_sizes": [64, 64]}
    assert config.optimizer == {"delta": 0.02}
    assert config.tuner == {"name": "spsa", "every": 6}


def test_a_config_survives_its_own_dict(tmp_path: Path) -> None:
    config = load(tmp_path, TOML)
    assert TrainConfig.from_dict(config_to_dict(config)) == config


def test_the_origin_of_every_value_is_known(tmp_path: Path) -> None:
    path = write(tmp_path, TOML)
    config = load_config(
        path, ["learning_rate=2e-3", "n_envs=8"], settings={"run_dir": "x"}, environ={"OPTIX_SEED": "9"}
    )
    origins = config.provenance
    assert origins["env"] == "run.toml:2"
    assert origins["agent.hidden_sizes"] == "run.toml:8"
    assert origins["optimizer.delta"] == "run.toml:14"
    assert origins["target_score"] == "run.toml:15"
    assert origins["seed"] == "environment variable OPTIX_SEED"
    assert config.seed == 9
    assert {origins[n] for n in ("agent.learning_rate", "n_envs", "run_dir")} == {"command line"}


def test_the_command_line_wins_over_environment_variables_and_these_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, TOML)
    assert load_config(path, environ={"OPTIX_SEED": "9"}).seed == 9
    assert load_config(path, ["seed=11"], environ={"OPTIX_SEED": "9"}).seed == 11
    assert load_config(path, ["seed=11"], settings={"seed": 10}, environ={}).seed == 11


def test_without_a_file_the_command_line_is_enough() -> None:
    config = load_config(overrides=["env=CartPole-v1", "learning_rate=1e-3", "delta=0.1"], environ={})
    assert config.agent == {"learning_rate": 1e-3}
    assert config.optimizer == {"delta": 0.1}


def test_short_names_use_the_agents_own_when_these_are_known() -> None:
    with pytest.raises(ConfigError, match=r"Did you mean 'learning_rate'\?"):
        load_config(overrides=["learnig_rate=1"], agent_options=["learning_rate"], environ={})
    with pytest.raises(ConfigError, match=r"could mean agent\.delta or optimizer\.delta"):
        load_config(overrides=["delta=1"], agent_options=["delta"], environ={})


def bad(data: dict, part: str) -> None:
    with pytest.raises(ConfigError) as error:
        TrainConfig.from_dict(data, {"n_envs": "run.toml:4", "optimizer.delta": "run.toml:9"})
    assert part in str(error.value)


def test_messages_name_the_setting_the_place_and_what_is_allowed() -> None:
    env = {"env": "A"}
    bad({}, "no environment is given")
    bad({"evn": "A"}, "unknown setting 'evn'. Did you mean 'env'?")
    bad({**env, "n_envs": 0}, "n_envs is 0 (from run.toml:4), but it must be a whole number, at least 1")
    bad({**env, "n_envs": "8"}, "write the number without quotes")
    bad({**env, "n_envs": True}, "n_envs is True")
    bad({**env, "n_envs": 2.5}, "a whole number")
    bad({**env, "max_seconds": 0}, "above 0")
    bad({**env, "target_score": math.nan}, "target_score is nan")
    bad({**env, "agent": [1]}, "agent is a list, but it must be a table")
    bad({**env, "optimizer": {"detla": 0.1}}, "unknown setting 'optimizer.detla'. Did you mean 'delta'?")
    bad(
        {**env, "optimizer": {"delta": "x"}},
        "optimizer.delta is 'x' (from run.toml:9), but it must be a number or none",
    )
    bad({**env, "optimizer": {"n_envs": 4}}, "It is spelled n_envs, at the top level")
    bad({**env, "delta": 0.1}, "It is spelled optimizer.delta")
    bad({**env, "tuner": {"name": "spsa", "evry": 3}}, "Did you mean 'every'?")
    bad({**env, "tuner": {"name": "fixed", "every": 3}}, "unknown setting 'tuner.every'")
    bad({**env, "validation": {"episode": 3}}, "Did you mean 'episodes'?")
    bad({**env, "max_steps": 5, "optimizer": {"max_steps": 6}}, "max_steps is given twice")


def test_the_optimizers_options_are_those_of_its_signature() -> None:
    names = optimizer_fields()
    assert {"delta", "horizon", "max_snapshots", "rollback_on_degradation", "checkpoint_dir"} <= set(names)
    assert not {"agent", "callbacks", "resume", "max_steps"} & set(names)
    assert not set(names) & set(TOP)


def test_optimizer_options_have_the_types_of_the_signature() -> None:
    bad({"env": "A", "optimizer": {"verbose": 1}}, "true or false")
    assert TrainConfig.from_dict({"env": "A", "optimizer": {"horizon": 1e2}}).optimizer == {"horizon": 100}


# --- files ----------------------------------------------------------------------------------------------------------


def test_a_missing_file_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no configuration file 'nowhere.toml'"):
        load_config("nowhere.toml")


@pytest.mark.parametrize(
    "name, text, part",
    [
        ("a.ini", "x", "use .toml, .yaml or .yml"),
        ("a.toml", "env = @", "a.toml, line 1, column 7: this is not valid TOML"),
        ("a.toml", "env = ", "a.toml, line 1: this is not valid TOML"),
        ("a.toml", 'env = "A"\nenv = "B"\n', "A key may appear only once"),
        ("a.toml", 'env = "A\n', "a.toml, line 1"),
    ],
)
def test_malformed_files_are_refused_with_the_place(tmp_path: Path, name: str, text: str, part: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(write(tmp_path, text, name))
    assert part in str(error.value)
    assert name in str(error.value)


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(ConfigError):
        read_toml("a = " + "[" * 100_000, "deep.toml")


@given(st.text(max_size=80))
def test_any_text_is_data_or_a_config_error(text: str) -> None:
    try:
        data, lines = read_toml(text, "f")
    except ConfigError:
        return
    assert isinstance(data, dict)
    assert all(isinstance(name, str) for name in lines)


def test_yaml_without_pyyaml_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ConfigError, match=r"needs PyYAML.*or write the file as TOML"):
        read_yaml("a: 1", "a.yaml")


def test_unreadable_large_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a directory"):
        read_file(tmp_path)
    binary = tmp_path / "b.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_file(binary)
    with pytest.raises(ConfigError, match="a configuration may have 1,000,000"):
        read_file(write(tmp_path, "#" * 1_000_001))


def test_lines_of_toml_skip_multi_line_values() -> None:
    text = 'a = """\nb = 1\n"""\n[t."x y"]\nc.d = 2\n[[u]]\ne = 3\n'
    lines = read_toml(text, "f")[1]
    assert lines["a"] == "f:1"
    assert "b" not in lines
    assert lines["t.x y.c.d"] == "f:5"
