from __future__ import annotations

import sys
from pathlib import Path

import gymnasium as gym
import pytest

from optix_core.config import TrainConfig, build_agent_from_config, make_env_from_config
from optix_core.config.build import build_tuner_from_config, resolve_agent_from_config
from optix_core.errors import ConfigError, OptixError
from optix_core.plugins.registry import Registry, use_registry
from optix_core.tuners import FixedOptimizer, SPSAOptimizer

sys.path.insert(0, str(Path(__file__).parent / "plugin"))
import linear_agent_plugin


@pytest.fixture(autouse=True)
def _registry():
    registry = Registry(entry_points=())
    registry.register_plugin(linear_agent_plugin, "linear")
    with use_registry(registry):
        yield


def config(origins: dict[str, str] | None = None, **settings: object) -> TrainConfig:
    return TrainConfig.from_dict({"env": "CartPole-v1", **settings}, origins or {})


def test_the_algorithm_is_honoured_and_its_settings_arrive() -> None:
    agent, values = build_agent_from_config(config(algorithm="Climb", agent={"noise": 0.25}))
    assert type(agent).__name__ == "LinearAgent"
    assert values.params == {"noise": 0.25}


def test_without_an_algorithm_the_spaces_choose() -> None:
    env = gym.make("CartPole-v1")
    assert resolve_agent_from_config(config(), env).qualified == "linear:Linear"


def test_errors_about_agents_say_where_the_setting_came_from() -> None:
    with pytest.raises(OptixError, match=r"no option 'niose'.*Did you mean 'noise'") as error:
        build_agent_from_config(config({"agent.niose": "run.toml:7"}, agent={"niose": 1}))
    assert "agent.niose is from run.toml:7" in str(error.value)
    with pytest.raises(OptixError, match="noise is -1") as error:
        build_agent_from_config(config({"agent.noise": "command line"}, agent={"noise": -1}))
    assert "agent.noise is from command line" in str(error.value)


def test_an_unknown_environment_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no environment 'CartPol-v1'.*CartPole-v1"):
        make_env_from_config(config(env="CartPol-v1"))


def test_a_module_as_environment_is_refused_unless_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "ran"
    (tmp_path / "evil_envs.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    made = config({"env": "run.toml:1"}, env="evil_envs:CartPole-v1")
    with pytest.raises(
        ConfigError, match=r"\(from run.toml:1\), which imports the module 'evil_envs'.*--allow-import"
    ):
        make_env_from_config(made)
    assert not marker.exists()
    make_env_from_config(made, allow_import=True).close()
    assert marker.exists()


def test_a_module_that_does_not_exist_is_named() -> None:
    with pytest.raises(ConfigError, match="cannot be imported: No module named 'nowhere_at_all'"):
        make_env_from_config(config(env="nowhere_at_all:X-v0"), allow_import=True)


def test_arguments_reach_the_environment_and_wrong_ones_are_named() -> None:
    env = make_env_from_config(config(env_kwargs={"max_episode_steps": 7}))
    assert env.spec is not None
    assert env.spec.max_episode_steps == 7
    with pytest.raises(ConfigError, match=r"refuses env_kwargs \(gravty\)"):
        make_env_from_config(config(env_kwargs={"gravty": 7}))


def test_tuners_by_name_with_options_or_the_default() -> None:
    assert build_tuner_from_config(config()) is None
    assert build_tuner_from_config(config(tuner={"name": "fixed"})) == "fixed"
    tuner = build_tuner_from_config(config(tuner={"every": 9}))
    assert isinstance(tuner, SPSAOptimizer)
    assert tuner.every == 9
    with pytest.raises(ConfigError, match="every is 0"):
        build_tuner_from_config(config(tuner={"every": 0}))
    with pytest.raises(OptixError, match="spsaa"):
        build_tuner_from_config(config(tuner={"name": "spsaa", "x": 1}))
    assert isinstance(FixedOptimizer(), FixedOptimizer)


def test_top_level_settings_inside_agent_are_sent_back() -> None:
    with pytest.raises(ConfigError, match=r"agent.seed is spelled seed, at the top level"):
        config(agent={"seed": 3})


@pytest.mark.parametrize(
    "name, options",
    [
        ("momentum", {"alpha": 0.1, "every": 3}),
        ("backoff", {"perturbation_scale": 0.1, "mode": "two_probe"}),
        ("pbt", {"population": 3, "explore_scale": 0.2}),
        ("adaptive", {"autocorr_threshold": 0.4, "pbt_history_size": 9}),
    ],
)
def test_every_tuner_takes_its_options_from_a_configuration(name: str, options: dict) -> None:
    tuner = build_tuner_from_config(config(tuner={"name": name, **options}))
    assert tuner is not None
    for option in ("mode", "every", "alpha", "population", "explore_scale"):
        if option in options:
            assert getattr(tuner, option) == options[option]
    with pytest.raises(ConfigError, match=r"unknown setting 'tuner\.evry'"):
        config(tuner={"name": name, "evry": 1})
    assert build_tuner_from_config(config(tuner={"name": name})) == name
