"""PPO agents as users see them: models of their own, optimizers of Keras, tuning without compiling, storage."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import zipfile

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf
from gymnasium import spaces

from optix_core import make_agent
from optix_core.errors import (
    ConfigError,
    CorruptCheckpoint,
    HyperparamError,
    IncompatibleCheckpoint,
    SpaceError,
)
from optix_core.export import export_numpy, export_onnx
from optix_core.testing.tiny_envs import SpaceProbe
from optix_core.types import HyperparamSet
from optix_tf import Adam, GaussianActor, TFGaussianPPOAgent, TFPPOAgent

SMALL = {"n_epochs": 2, "minibatch_size": 32}


@keras.saving.register_keras_serializable(package="tests")
class Mine(keras.Model):
    """A subclassed model with a layer that nothing in optix knows, and dropout."""

    def __init__(self, n):
        super().__init__()
        self.a, self.b = keras.layers.Dense(8), keras.layers.Dense(n)
        self.drop = keras.layers.Dropout(0.5)
        self(np.zeros((1, 3), np.float32))

    def call(self, x, training=None):
        return self.b(self.drop(tf.sin(self.a(x)), training=training))


def agent_of(actor, critic, optimizer=None, **more):
    optimizer = Adam(1e-2, epsilon=1e-5) if optimizer is None else optimizer
    return TFPPOAgent(actor, critic, optimizer, SMALL, device="cpu", seed=0, **more)


def test_a_model_of_the_users_acts_and_learns_with_a_ratio_of_one(make):
    agent = agent_of(Mine(4), Mine(1))
    assert not agent._networks.xla
    window = make.window(agent)
    rows = window.observations.reshape(-1, 3)
    before = agent.action_probs_batch(rows)
    np.testing.assert_allclose(before.sum(axis=1), 1.0, rtol=1e-5)
    agent.set_hyperparams(HyperparamSet({"n_epochs": 1, "minibatch_size": 120}))
    report = agent.learn(window)
    assert abs(report["approx_kl"]) < 1e-7  # one step: all ratios were taken before it
    assert report["clip_fraction"] == 0.0
    assert np.abs(agent.action_probs_batch(rows) - before).max() > 1e-4
    model = agent._networks.actor
    np.testing.assert_allclose(
        np.asarray(tf.nn.softmax(model(rows, training=False))), agent.action_probs_batch(rows), atol=1e-5
    )


@pytest.mark.parametrize("kind", ["SGD", "Adam", "RMSprop", "AdamW", "Lion"])
def test_optimizers_of_keras_make_their_own_steps(make, kind):
    optimizer = getattr(keras.optimizers, kind)(1e-2)
    agent = agent_of(make.sequential(3, 6, 4), make.sequential(3, 5, 1, seed=1), optimizer)
    window = make.window(agent)
    before = agent._networks.training.host.copy()
    report = agent.learn(window)
    assert report["n_updates"] == int(optimizer.iterations) == 8
    assert np.abs(agent._networks.training.host - before).max() > 1e-4
    assert agent.get_hyperparams().params["learning_rate"] == pytest.approx(1e-2)
    agent.set_hyperparams(HyperparamSet({"learning_rate": 1e-3}))
    assert float(optimizer.learning_rate.numpy()) == pytest.approx(1e-3)
    assert agent.learn(window)["n_compilations"] == 1


def test_an_optimizer_of_keras_is_given_the_clipped_gradient(make):
    ours, theirs = (
        agent_of(make.sequential(3, 6, 4), make.sequential(3, 5, 1, seed=1), optimizer, compiler="graph")
        for optimizer in (Adam(1e-2), keras.optimizers.SGD(1e-2))
    )
    window, before = make.window(ours), ours._networks.training.host.copy()
    for agent in (ours, theirs):
        agent.set_hyperparams(HyperparamSet({"n_epochs": 1, "minibatch_size": 120, "max_grad_norm": 0.1}))
        agent.learn(window)
    gradient = np.asarray(ours._networks.training.state[0]) / 0.1  # Adam's first mean is a tenth of it
    assert np.linalg.norm(gradient) == pytest.approx(0.1, rel=1e-4)
    np.testing.assert_allclose(theirs._networks.training.host, before - 1e-2 * gradient, atol=1e-7)


def test_a_diverged_update_leaves_a_keras_optimizer_as_it_was(make):
    optimizer = keras.optimizers.Adam(1e-2)
    agent = agent_of(make.sequential(3, 6, 4), make.sequential(3, 5, 1, seed=1), optimizer)
    window = make.window(agent)
    agent.learn(window)
    before, moments = agent._networks.training.host.copy(), agent._networks.training.optimizer.arrays()
    window.rewards = np.full_like(window.rewards, np.nan)
    report = agent.learn(window)
    assert np.isnan(report["policy_loss"])
    assert report["n_skipped"] == 3
    np.testing.assert_array_equal(agent._networks.training.host, before)
    for name, array in agent._networks.training.optimizer.arrays().items():
        np.testing.assert_array_equal(array, moments[name])


def test_a_diverged_update_changes_nothing(make):
    agent = make.built(compiler="graph")
    window = make.window(agent)
    agent.learn(window)
    before = agent._networks.training.host.copy()
    window.rewards = np.full_like(window.rewards, np.nan)
    report = agent.learn(window)
    assert np.isnan(report["value_loss"])
    assert report["n_updates"] == 0
    np.testing.assert_array_equal(agent._networks.training.host, before)
    assert agent.on_divergence() == {"learning_rate": pytest.approx(1.5e-4)}


@pytest.mark.parametrize("kind", ["discrete", "box"])
def test_no_hyperparameter_compiles_anything_anew(make, kind):
    compiler = {"discrete": "xla", "box": "graph"}[kind]
    agent = make.built(kind, hyperparams={"n_epochs": 2, "minibatch_size": 32}, compiler=compiler)
    window = make.window(agent)
    first = agent.learn(window)["n_compilations"]
    function = agent._networks._function
    compiled = function.n_compilations
    others = {
        "learning_rate": 1e-4, "clip_ratio": 0.1, "entropy_coef": 0.02, "vf_coef": 0.3, "gamma": 0.9,
        "gae_lambda": 0.8, "n_epochs": 5, "minibatch_size": 60, "max_grad_norm": 0.1, "target_kl": 0.5,
        "learning_rate_decay_steps": 10_000, "clip_ratio_decay_steps": 10_000, "value_clip": 0.2,
    }  # fmt: skip
    assert set(others) == {hyper.name for hyper in agent.hypers}
    for name, value in others.items():
        agent.set_hyperparams(HyperparamSet({name: value}))
        before = agent._networks.training.host.copy()
        report = agent.learn(window)
        assert report["n_compilations"] == first, name
        assert np.abs(agent._networks.training.host - before).max() > 0.0, name
    assert function.n_compilations == compiled
    # what is far from the first minibatches is compiled again, and said
    agent.set_hyperparams(HyperparamSet({"minibatch_size": 4, "n_epochs": 1}))
    assert agent.learn(window)["n_compilations"] == first + 1


def test_agents_of_equal_shapes_share_what_was_compiled(make):
    one, two = (make.built(seed=seed, compiler="graph") for seed in (0, 1))
    assert one._networks._function is two._networks._function
    assert np.abs(one._networks.training.host - two._networks.training.host).max() > 0.01
    assert make.built(hidden_sizes=(9,), compiler="graph")._networks._function is not one._networks._function


def test_equal_seeds_give_equal_agents(make):
    one, two = (make.built("box", compiler="graph") for _ in range(2))
    window = make.window(one)
    np.testing.assert_array_equal(make.window(two).actions, window.actions)
    reports = [agent.learn(window) for agent in (one, two)]
    np.testing.assert_array_equal(one._networks.training.host, two._networks.training.host)
    assert reports[0]["policy_loss"] == reports[1]["policy_loss"]


def test_resume_is_exact(make):
    first = make.built("box", compiler="graph", normalize_observations=True, normalize_rewards=True)
    window = make.window(first)
    first.learn(window)
    second = make.built("box", compiler="graph", normalize_observations=True, normalize_rewards=True, seed=9)
    second.load_state_dict(first.state_dict())
    later = make.window(first, seed=1)
    for agent in (first, second):
        agent.learn(later)
    np.testing.assert_array_equal(first._networks.training.host, second._networks.training.host)


def test_weights_are_one_safetensors_file_and_models_have_them(make, tmp_path):
    agent, other = make.built(), make.built(seed=5)
    agent.save_weights(str(tmp_path / "w"))
    other.load_weights(str(tmp_path / "w"))
    np.testing.assert_array_equal(agent._networks.training.host, other._networks.training.host)
    for a, b in zip(agent._networks.actor.variables, other._networks.actor.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    with pytest.raises(IncompatibleCheckpoint):
        make.built("box").load_weights(str(tmp_path / "w"))
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as file:
        file.writestr("config.json", "{}")
    with pytest.raises(CorruptCheckpoint):  # Keras's own format is not read
        agent.load_weights(str(tmp_path / "model.keras"))


@pytest.mark.parametrize(
    "change,error,match",
    [
        ({"compiler": "fast"}, ConfigError, "compiler"),
        ({"device": "tpu"}, ConfigError, "not known"),
        ({"device": "cuda:7"}, ConfigError, "not available"),
        ({"activation": "swish"}, ConfigError, "activation"),
        ({"hyperparams": {"lr": 1.0}}, HyperparamError, "lr"),
        ({"hyperparams": {"clip_ratio": 2.0}}, HyperparamError, "clip_ratio"),
    ],
)
def test_what_cannot_be_is_refused(make, change, error, match):
    with pytest.raises(error, match=match):
        make.built(**change)


def test_networks_of_wrong_widths_are_refused(make):
    with pytest.raises(ConfigError, match="outputs for 4"):
        agent_of(make.sequential(3, 4), make.sequential(3, 1), action_space=spaces.Discrete(5))
    with pytest.raises(ConfigError, match="two outputs per action"):
        TFGaussianPPOAgent(make.sequential(3, 3), make.sequential(3, 1), Adam(), 2)
    with pytest.raises(SpaceError, match="action_dim is 3"):
        TFGaussianPPOAgent(
            GaussianActor(make.sequential(3, 3), 3),
            make.sequential(3, 1),
            Adam(),
            3,
            action_space=spaces.Box(-1, 1, (2,)),
        )


@pytest.mark.parametrize("name,env", [("PPO", "CartPole-v1"), ("GaussianPPO", "Pendulum-v1")])
def test_make_agent_by_framework(name, env):
    agent = make_agent(name, gym.make(env), framework="tf", seed=0)
    assert type(agent).__module__.startswith("optix_tf.")


def test_the_variable_for_a_whole_shell():
    code = (
        "import gymnasium as gym; from optix_core import make_agent;"
        "print(type(make_agent('PPO', gym.make('CartPole-v1'))).__name__)"
    )
    env = {**os.environ, "OPTIX_FRAMEWORK": "tf"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.strip() == "TFPPOAgent"


def test_actions_reach_the_bounds_of_the_box(make):
    agent = make.built("box")
    actions = agent.env_actions(np.array([[-9.0, -1.0], [0.0, 0.0], [1.0, 9.0]], np.float32))
    np.testing.assert_allclose(actions, [[-2.0, 0.0], [0.0, 2.5], [2.0, 5.0]])


OBSERVATIONS = {
    "flat": spaces.Box(-np.inf, np.inf, (5,), np.float32),
    "parts": spaces.Dict({
        "pose": spaces.Box(-9, 9, (3,), np.float32),
        "mode": spaces.Discrete(4),
        "more": spaces.Tuple((spaces.MultiBinary(3), spaces.Box(0, 1, (2, 2), np.float32))),
    }),
    "image": spaces.Box(0, 255, (40, 36, 3), np.uint8),
}  # fmt: skip
ACTIONS = {
    "discrete": spaces.Discrete(4, start=3),
    "multi_discrete": spaces.MultiDiscrete([2, 3, 4]),
    "multi_binary": spaces.MultiBinary(5),
    "box": spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 0.5], np.float32)),
}


@pytest.mark.parametrize(
    "actions,observations",
    [("discrete", "flat"), ("multi_discrete", "flat"), ("multi_binary", "flat"), ("box", "flat"), ("box", "parts"),
     ("discrete", "image")],
)  # fmt: skip
def test_files_act_as_the_agent(actions, observations, tmp_path):
    name = "GaussianPPO" if actions == "box" else "PPO"
    env = SpaceProbe(OBSERVATIONS[observations], ACTIONS[actions])
    agent = make_agent(f"optix-tf:{name}", env, seed=1)
    training = agent._networks.training
    # biases and output layers start (nearly) at zero, which would hide differences
    training.assign(
        training.host + 0.1 * np.random.default_rng(0).standard_normal(len(training.host)).astype(np.float32)
    )
    for export in (export_onnx, export_numpy):
        found = export(agent, tmp_path / "policy")
        assert found.largest_difference <= (1e-4 if observations == "image" else 1e-5)
        assert found.ties <= found.observations // 100


def test_convolutions_of_the_users_are_exported(tmp_path):
    def network(n):
        layers = [
            keras.layers.Conv2D(4, 3, 2, activation="relu"),
            keras.layers.Conv2D(3, 2),
            keras.layers.Flatten(),
        ]
        return keras.Sequential(
            [
                keras.Input((9, 8, 2)),
                *layers,
                keras.layers.LayerNormalization() if n == 0 else keras.layers.Dense(max(n, 1)),
            ]
        )

    space = spaces.Box(-1.0, 1.0, (9, 8, 2), np.float32)
    agent = agent_of(network(4), network(1), observation_space=space, action_space=spaces.Discrete(4))
    assert export_numpy(agent, tmp_path / "policy").largest_difference <= 1e-5


def test_unknown_layers_cannot_be_exported_and_say_so(tmp_path):
    agent = agent_of(
        Mine(4),
        Mine(1),
        observation_space=spaces.Box(-1, 1, (3,), np.float32),
        action_space=spaces.Discrete(4),
    )
    with pytest.raises(ConfigError, match="Mine"):
        export_numpy(agent, tmp_path / "policy")


def test_acting_calls_no_function_of_tensorflow():
    """A call costs it more than the whole of an act should; what acting costs is measured by `bench backends`."""
    agent = make_agent("optix-tf:PPO", gym.make("CartPole-v1"), seed=0)
    row = np.zeros(4, np.float32)
    agent.act(row)
    called: set[str] = set()

    def note(frame, event, argument):
        del argument
        if event == "call":
            called.add(frame.f_globals.get("__name__", ""))

    sys.setprofile(note)
    try:
        agent.act(row)
    finally:
        sys.setprofile(None)
    assert any(name.startswith("optix_core") for name in called)
    assert not [name for name in called if name.partition(".")[0] in {"tensorflow", "keras"}]


def test_importing_the_package_and_its_plugin_loads_no_framework():
    code = (
        "import sys, optix_tf, optix_tf.plugin; optix_tf.plugin.optix_agents();"
        "print([n for n in ('torch', 'tensorflow', 'jax', 'keras') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_memory_does_not_grow(make):
    import resource

    agent = make.built(hyperparams={"n_epochs": 2, "minibatch_size": 32})
    window = make.window(agent)

    def resident():
        gc.collect()
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
            return int(file.read().split()[1]) * resource.getpagesize()

    for _ in range(50):
        agent.learn(window)
    before = resident()
    for _ in range(1_000):
        agent.learn(window)
    assert resident() < 1.05 * before


@pytest.mark.parametrize("kind", ["discrete", "box"])
def test_actors_in_other_processes_have_the_present_policy(make, kind):
    agent = make.built(kind, compiler="graph")
    acting = agent.numpy_acting()
    agent.learn(make.window(agent))
    seen = np.ones((2, 3), np.float32)
    found = acting.policy.act(seen, np.random.default_rng(0), deterministic=True)
    np.testing.assert_array_equal(found, agent.act_batch(seen, deterministic=True))
    assert agent_of(Mine(4), Mine(1)).numpy_acting() is None
