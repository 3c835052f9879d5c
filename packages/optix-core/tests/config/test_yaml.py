"""YAML configuration files; left out where PyYAML is not installed."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optix_core.config import load_config
from optix_core.config.yaml_reader import read_yaml
from optix_core.errors import ConfigError

pytest.importorskip("yaml")

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
YAML = """\
env: CartPole-v1
seed: 3
max_steps: 1e5
agent:
  learning_rate: 1e-3
  hidden_sizes: [64, 64]
optimizer: {delta: 0.02, target_score: 475}
tuner:
  name: spsa
  every: 6
"""


def write(folder: Path, text: str, name: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_yaml_says_the_same_as_toml_and_knows_its_lines(tmp_path: Path) -> None:
    yaml = load_config(write(tmp_path, YAML, "run.yaml"), environ={})
    assert yaml == load_config(write(tmp_path, TOML, "run.toml"), environ={})
    origins = yaml.provenance
    assert (origins["agent.learning_rate"], origins["optimizer.delta"]) == ("run.yaml:5", "run.yaml:7")


@pytest.mark.parametrize(
    "text, part",
    [
        ("env: [1\n", "a.yaml, line 2"),
        ("env: A\nseed: 1\nenv: B\n", "a.yaml, line 3, column 1: 'env' appears twice"),
        ("agent:\n  gamma: 1\n  gamma: 2\n", "line 3, column 3: 'gamma' appears twice"),
        ("- 1\n- 2\n", "must hold a mapping (name: value), but it holds a list"),
        ("hello\n", "single value"),
        ("a: 1\n---\nb: 2\n", "one document is expected"),
        ("env: !!python/object/apply:os.system [ls]\n", "is not allowed"),
        ("env: !thing A\n", "is not allowed"),
        ("1: A\n", "a name must be a text"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", "merging with << is not supported"),
        ("a: &x [*x]\n", "line"),
        ("seed: !!int x\n", "'x' is not a int"),
        ("\tenv: A\n", "not valid YAML"),
    ],
)
def test_malformed_files_are_refused_with_the_place(tmp_path: Path, text: str, part: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(write(tmp_path, text, "a.yaml"))
    assert part in str(error.value)
    assert "a.yaml" in str(error.value)


def test_an_alias_bomb_is_refused_quickly() -> None:
    text = "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
        f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
    )
    with pytest.raises(ConfigError, match="expands to more than 10,000 values"):
        read_yaml(text, "bomb.yaml")


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"64 levels|not valid YAML"):
        read_yaml("a: " + "[" * 200 + "]" * 200, "deep.yaml")
    with pytest.raises(ConfigError):
        read_yaml("a: " + "[" * 20_000, "deep.yaml")


def test_aliases_in_moderation_work() -> None:
    assert read_yaml("a: &x {b: 1}\nc: *x\n", "a.yaml")[0] == {"a": {"b": 1}, "c": {"b": 1}}


@pytest.mark.parametrize(
    "text, value",
    [
        ("1e-3", 1e-3),
        ("1e3", 1e3),
        ("1.5", 1.5),
        (".5", 0.5),
        ("12", 12),
        ("0o17", 15),
        ("0x1F", 31),
        ("010", 10),
        ("true", True),
        ("no", "no"),
        ("on", "on"),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("2026-01-01", "2026-01-01"),
        ("~", None),
        ("", None),
        (".inf", math.inf),
        ("-.inf", -math.inf),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ("!!float 1", 1.0),
        ("9" * 6000, "9" * 6000),
    ],
)
def test_yaml_scalars_follow_version_1_2(text: str, value: object) -> None:
    found = read_yaml(f"x: {text}\n", "a.yaml")[0]["x"]
    assert found == value
    assert type(found) is type(value)


@given(st.text(max_size=80))
def test_any_text_is_data_or_a_config_error(text: str) -> None:
    try:
        data, lines = read_yaml(text, "f")
    except ConfigError:
        return
    assert isinstance(data, dict)
    assert all(isinstance(name, str) for name in lines)
