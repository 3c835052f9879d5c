"""Are presets well-formed, chosen as asked, beneath everything else, and on the record?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from optix_core.config import TrainConfig, config_to_dict, load_config
from optix_core.errors import ConfigError
from optix_core.plugin import AgentSpec, Hyper
from optix_core.presets import Preset, all_presets, catalogue, find_preset, presets_for
from optix_core.presets.catalogue import choose_preset, read_presets

PROMISED = (
    "CartPole-v1",
    "Acrobot-v1",
    "MountainCar-v0",
    "MountainCarContinuous-v0",
    "Pendulum-v1",
    "LunarLander-v3",
    "LunarLanderContinuous-v3",
    "BipedalWalker-v3",
    "Hopper-v5",
    "HalfCheetah-v5",
    "optix/CartPoleNoVel-v0",
)
GOOD = """
[[preset]]
name = "a/b"
summary = "s"
environments = ["A-v1"]
algorithm = "B"
n_envs = 2
max_steps = 10
[preset.agent]
learning_rate = 1e-3
[preset.source]
name = "someone"
where = "somewhere"
"""


@pytest.mark.parametrize("env", PROMISED)
def test_every_promised_environment_has_one(env):
    assert presets_for(env)


def test_names_are_unique_and_say_their_environment():
    names = [preset.name for preset in all_presets()]
    assert len(set(names)) == len(names)
    for preset in all_presets():
        assert find_preset(preset.name.upper()) is preset


@pytest.mark.parametrize("preset", all_presets(), ids=lambda p: p.name)
def test_each_says_where_it_comes_from(preset: Preset):
    assert preset.source.name
    assert preset.source.where
    if preset.source.name != "optix":
        assert preset.published is not None
        assert preset.published.how
        assert preset.published.steps > 0
    assert preset.settings()["agent"] == preset.agent
    assert re.fullmatch(r"[0-9a-f]{64}", preset.digest)


def read(folder: Path, text: str):
    (folder / "x.toml").write_text(text, encoding="utf-8")
    return read_presets(folder)


@pytest.mark.parametrize(
    "old,new,message",
    [
        ("n_envs = 2\n", "", "lacks n_envs"),
        ("n_envs", "n_env", "Did you mean 'n_envs'"),
        ("n_envs = 2", "n_envs = 0", "must be at least 1"),
        ("n_envs = 2", "n_envs = true", "of kind int"),
        ("max_steps = 10", "max_steps = 1e1", "of kind int"),
        ('["A-v1"]', "[]", "at least one"),
        ('["A-v1"]', "[1]", "list of texts"),
        ('where = "somewhere"\n', "", "lacks where"),
        ('"a/b"', '"b"', "reads environment/algorithm"),
        ("[[preset]]", "[[presets]]", "holds \\[\\[preset\\]\\] tables"),
        ('"s"', '"s', "not valid TOML"),
        ("max_steps = 10", "max_steps = 10\npublished = {score = 1}", "published lacks steps"),
    ],
)
def test_malformed_files_are_refused(tmp_path, old, new, message):
    assert read(tmp_path, GOOD)[0].name == "a/b"
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, GOOD.replace(old, new, 1))


def test_two_of_one_name_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="two presets of the name a/b"):
        read(tmp_path, GOOD + GOOD)


def test_the_digest_changes_with_any_number(tmp_path):
    first = read(tmp_path, GOOD)[0].digest
    assert read(tmp_path, GOOD)[0].digest == first
    assert read(tmp_path, GOOD.replace("1e-3", "2e-3"))[0].digest != first


def test_patterns(tmp_path):
    found = read(tmp_path, GOOD.replace("A-v1", "A*-v?"))[0]
    assert found.fits("Abc-v2")
    assert not found.fits("Abc-v12")
    assert not found.fits("BA-v1")


# --- in a configuration ---------------------------------------------------------------------------------------------


@pytest.fixture
def agents(monkeypatch):
    """Pretend that agents of these names are installed."""
    installed = {"PPO": "PPO", "GaussianPPO": "PPO", "DQN": "DQN"}

    class Record:
        name = "optix-test"

    class Component:
        record = Record()

        def __init__(self, spec):
            self.spec = spec

    class Registry:
        def agents(self):
            hyper = (Hyper("learning_rate", 1e-3),)
            return [
                Component(
                    AgentSpec(
                        name=name,
                        algorithm=algorithm,
                        factory="x:y",
                        framework="torch",
                        action_spaces=frozenset({"discrete"}),
                        hyperparams=hyper,
                    )
                )
                for name, algorithm in installed.items()
            ]

    monkeypatch.setattr("optix_core.plugins.registry.default_registry", Registry)
    return installed


def test_a_preset_lies_beneath_file_and_command_line(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('preset = "cartpole/ppo"\nn_envs = 4\n[agent]\ngamma = 0.9\n', encoding="utf-8")
    config = load_config(file, ["learning_rate=1e-2", "max_steps=none"], settings={"seed": 3}, environ={})
    preset = find_preset("cartpole/ppo")
    assert config.env == "CartPole-v1"
    assert (config.n_envs, config.max_steps, config.seed) == (4, None, 3)
    assert config.window_size == preset.window_size
    assert config.agent == {**preset.agent, "gamma": 0.9, "learning_rate": 1e-2}
    assert config.preset == preset.record()
    origins = config.provenance
    assert origins["agent.n_epochs"] == "preset cartpole/ppo"
    assert origins["agent.gamma"] == "run.toml:4"
    assert origins["agent.learning_rate"] == "command line"
    assert origins["n_envs"] == "run.toml:2"
    assert origins["preset.name"] == "cartpole/ppo (from run.toml:1)"


def test_without_a_preset_nothing_is_set():
    config = load_config(settings={"env": "CartPole-v1"}, environ={})
    assert config.preset is None
    assert config.agent == {}
    assert config.max_steps is None


def test_what_was_applied_is_kept_and_never_applied_again(monkeypatch):
    config = load_config(settings={"env": "CartPole-v1", "preset": "cartpole/ppo"}, environ={})
    stored = config_to_dict(config)
    again = TrainConfig.from_dict(stored)
    assert (again.preset, again.agent, again.max_steps) == (config.preset, config.agent, config.max_steps)
    del stored["agent"]["gamma"]
    monkeypatch.setattr(catalogue, "all_presets", tuple)  # another version, which has no presets at all
    assert "gamma" not in TrainConfig.from_dict(stored).agent


@pytest.mark.parametrize(
    "settings,message",
    [
        ({"env": "CartPole-v1", "preset": "cartpole/pop"}, "Did you mean 'cartpole/ppo'"),
        ({"env": "Pendulum-v1", "preset": "cartpole/ppo"}, "is for CartPole-v1, not for Pendulum-v1"),
        ({"env": "CartPole-v1", "preset": "cartpole/ppo", "algorithm": "DQN"}, "but algorithm is DQN"),
        ({"env": "CartPole-v1", "preset": {"name": "cartpole/ppo"}}, "name one instead"),
        ({"env": "CartPole-v1", "preset": 3}, "must be a name, auto or none"),
        ({"env": "Blackjack-v1", "preset": "auto"}, "no preset for Blackjack-v1"),
        ({"env": "CartPole-v1", "preset": "auto", "algorithm": "SAC"}, "fits algorithm SAC"),
        ({"env": "CartPole-v1", "preset": "auto", "framework": "jax"}, "fits framework jax"),
        ({"preset": "auto"}, "no environment is given"),
    ],
)
def test_what_cannot_be_is_refused(agents, settings, message):
    with pytest.raises(ConfigError, match=message):
        load_config(settings=settings, environ={})


def test_auto_takes_the_first_whose_agent_is_installed(agents):
    assert choose_preset("CartPole-v1").name == "cartpole/ppo"
    assert (
        choose_preset("Pendulum-v1").name == "pendulum/ppo"
    )  # SAC and TD3 come first, and are not installed
    del agents["PPO"]
    assert choose_preset("CartPole-v1").name == "cartpole/dqn"
    agents.clear()
    with pytest.raises(ConfigError, match="fits an installed agent"):
        choose_preset("CartPole-v1")


def test_auto_follows_the_algorithm_asked_for(agents):
    def name(algorithm, env="CartPole-v1"):
        return choose_preset(env, algorithm=algorithm).name

    assert name("DQN") == "cartpole/dqn"
    assert name("dqn") == "cartpole/dqn"
    assert name("optix-test:DQN") == "cartpole/dqn"
    assert name("torch:DQN") == "cartpole/dqn"
    assert name("PPO", "Pendulum-v1") == "pendulum/ppo"  # which is GaussianPPO there
    assert name("GaussianPPO", "Pendulum-v1") == "pendulum/ppo"
    with pytest.raises(ConfigError, match="fits algorithm jax:DQN"):
        name("jax:DQN")


def test_an_algorithm_of_the_same_family_goes_with_a_named_preset(agents):
    config = load_config(settings={"preset": "pendulum/ppo", "algorithm": "PPO"}, environ={})
    assert config.algorithm == "PPO"
    assert config.env == "Pendulum-v1"


def test_a_preset_of_several_environments_does_not_choose_one(tmp_path, monkeypatch):
    several = read(tmp_path, GOOD.replace('"A-v1"', '"A-v1", "A-v2"'))
    monkeypatch.setattr(catalogue, "all_presets", lambda: several)
    with pytest.raises(ConfigError, match="is for A-v1, A-v2; say which"):
        TrainConfig.from_dict({"preset": "a/b"})
    assert TrainConfig.from_dict({"preset": "a/b", "env": "A-v2"}).n_envs == 2
