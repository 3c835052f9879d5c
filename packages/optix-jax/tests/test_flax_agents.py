"""Modules and optimizers of users: linen, nnx and optax, in PPO and in FlaxAgent."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx
from gymnasium.spaces import Box

from optix_core.errors import ConfigError
from optix_core.types import EpisodeData, HyperparamSet
from optix_jax import FlaxAgent, FlaxEvaluator, FlaxGaussianPPOAgent, FlaxPPOAgent

SPACE = Box(-1.0, 1.0, (3,))


class Net(nnx.Module):
    def __init__(self, out, seed):
        rngs = nnx.Rngs(seed)
        self.first, self.last = nnx.Linear(3, 8, rngs=rngs), nnx.Linear(8, out, rngs=rngs)

    def __call__(self, x):
        return self.last(nnx.gelu(self.first(x)))


class Linen(linen.Module):
    out: int

    @linen.compact
    def __call__(self, x):
        return linen.Dense(self.out)(linen.gelu(linen.Dense(8)(x)))


class WithValues(nnx.Module):
    def __init__(self):
        self.policy, self.value = Net(2, 0), Net(1, 1)

    def __call__(self, x):
        return self.policy(x), self.value(x)


def adam(rate=1e-2):
    return optax.inject_hyperparams(optax.adam)(learning_rate=rate)


def window_for(agent, seed=0, t=48):
    """The right action is whether the first number is positive."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((t, 3)).astype(np.float32)
    actions = agent.act_batch(rows)
    return EpisodeData(
        observations=rows,
        actions=actions,
        rewards=(actions == (rows[:, 0] > 0)).astype(float),
        terminated=np.ones(t, bool),
        truncated=np.zeros(t, bool),
        final_obs=rows[0],
        timestamp=0.0,
    )


def right(agent):
    rows = np.random.default_rng(9).standard_normal((200, 3)).astype(np.float32)
    return (agent.act_batch(rows, deterministic=True) == (rows[:, 0] > 0)).mean()


@pytest.mark.parametrize("kind", ["nnx", "linen"])
def test_modules_of_users_learn_with_ppo(kind):
    actor, critic = (Net(2, 0), Net(1, 1)) if kind == "nnx" else (Linen(2), Linen(1))
    agent = FlaxPPOAgent(
        None, 2, {"minibatch_size": 16}, actor=actor, critic=critic, optimizer=adam(), observation_space=SPACE
    )
    assert agent.get_hyperparams().params["learning_rate"] == 1e-2
    for seed in range(6):
        report = agent.learn(window_for(agent, seed))
    assert report["n_updates"] == 30
    assert right(agent) > 0.85


def test_the_module_that_was_given_is_not_changed():
    actor = Net(2, 0)
    before = np.array(actor.first.kernel[...])
    agent = FlaxPPOAgent(None, 2, actor=actor, critic=Net(1, 1), optimizer=adam())
    agent.learn(window_for(agent))
    np.testing.assert_array_equal(np.array(actor.first.kernel[...]), before)


def test_what_is_stored_goes_on_exactly(tmp_path):
    def made(seed):
        return FlaxPPOAgent(None, 2, seed=seed, actor=Net(2, seed), critic=Net(1, 1), optimizer=adam())

    one, two = made(0), made(5)
    one.learn(window_for(one))
    two.load_state_dict(one.state_dict())
    window = window_for(one, 1)
    two.act_batch(window.observations)  # as the other did for its window
    assert one.learn(window)["policy_loss"] == two.learn(window)["policy_loss"]
    path = str(tmp_path / "weights")
    one.save_weights(path)
    three = made(7)
    three.load_weights(path)
    rows = window.observations
    np.testing.assert_array_equal(
        one.act_batch(rows, deterministic=True), three.act_batch(rows, deterministic=True)
    )


@pytest.mark.parametrize(
    "options,words",
    [
        ({"optimizer": optax.adam(1e-3)}, "inject_hyperparams"),
        ({"optimizer": "adam"}, "transformation of optax"),
        ({"actor": Linen(2)}, "observation_space"),
        ({"actor": lambda x: x}, "flax.nnx.Module"),
        ({"device": "tpu:0"}, "not known"),
    ],
)
def test_what_cannot_be_used_is_refused_with_what_to_do(options, words):
    with pytest.raises(ConfigError, match=words):
        FlaxPPOAgent(None, 2, **{"actor": Net(2, 0), "critic": Net(1, 1), **options})


def test_the_plain_constructors_need_numbers_only():
    assert FlaxPPOAgent(3, 2).act(np.zeros(3, np.float32)) in {0, 1}
    assert FlaxGaussianPPOAgent(3, 2, hidden_size=(8,)).act(np.zeros(3, np.float32)).shape == (2,)
    with pytest.raises(ConfigError, match="obs_dim"):
        FlaxPPOAgent(None, 2)


def test_policies_of_users_modules_are_not_exported():
    agent = FlaxPPOAgent(None, 2, actor=Net(2, 0), critic=Net(1, 1), observation_space=SPACE)
    with pytest.raises(ConfigError, match="module of your own"):
        agent.policy_graph()


@pytest.mark.parametrize("model,baseline", [(Net(2, 0), "reinforce"), (WithValues(), "a2c")])
def test_flax_agent_learns(model, baseline):
    agent = FlaxAgent(model, adam(3e-2), seed=0)
    for seed in range(40):
        report = agent.learn(window_for(agent, seed))
    assert report["baseline_type"] == baseline
    assert right(agent) > 0.85


def test_flax_agent_steps_on_the_loss_that_it_is_given():
    calls = []

    def loss(model, params, window, targets):
        calls.append(targets.shape)
        return jnp.square(model(params, window.observations)).mean()

    agent = FlaxAgent(Net(2, 0), adam(), compute_loss_fn=loss, seed=0)
    first = agent.learn(window_for(agent))["loss"]
    for _ in range(20):
        last = agent.learn(window_for(agent))["loss"]
    assert last < 0.5 * first
    assert len(calls) == 21
    assert calls[0] == (48,)


def test_a_loss_that_is_not_finite_makes_no_step():
    agent = FlaxAgent(
        Net(2, 0), adam(), compute_loss_fn=lambda m, p, w, t: jnp.nan * m(p, w.observations).sum(), seed=0
    )
    before = jax.tree.map(np.array, agent._training.params)
    report = agent.learn(window_for(agent))
    assert np.isnan(report["loss"])
    assert report["n_updates"] == 0
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(agent._training.params), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_learning_rate_is_set_without_losing_moments():
    agent = FlaxAgent(Net(2, 0), adam(), seed=0)
    agent.learn(window_for(agent))
    moments = [np.array(leaf) for leaf in jax.tree.leaves(agent._training.moments)]
    agent.set_hyperparams(HyperparamSet({"learning_rate": 1e-4}))
    assert agent.get_hyperparams().params["learning_rate"] == 1e-4
    for a, b in zip(moments, jax.tree.leaves(agent._training.moments), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_evaluator_is_the_mean_return_of_complete_episodes():
    from optix_core.evaluators.mean_return import MeanReturnEvaluator

    assert issubclass(FlaxEvaluator, MeanReturnEvaluator)
