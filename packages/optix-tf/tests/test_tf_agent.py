"""REINFORCE and A2C for users' models, and the evaluator that goes with them."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from optix_core.errors import ConfigError, HyperparamError
from optix_core.evaluators.mean_return import MeanReturnEvaluator
from optix_core.rl.reference import policies
from optix_core.types import EpisodeData, HyperparamSet
from optix_tf import Adam, TFAgent, TFEvaluator


def with_values():
    x = keras.Input((3,))
    hidden = keras.layers.Dense(6, "tanh", kernel_initializer=keras.initializers.GlorotUniform(1))(x)
    heads = [keras.layers.Dense(n, kernel_initializer=keras.initializers.GlorotUniform(n)) for n in (4, 1)]
    return keras.Model(x, tuple(head(hidden) for head in heads))


def window(rewards, terminated=(), truncated=(), *, values=None, seed=0):
    rng, t = np.random.default_rng(seed), len(rewards)
    ends = sorted({*terminated, *truncated})
    flags = np.zeros((2, t), bool)
    flags[0, list(terminated)] = True
    flags[1, list(truncated)] = True
    return EpisodeData(
        rng.standard_normal((t, 3)).astype(np.float32),
        rng.integers(0, 4, t),
        rewards,
        *flags,
        values=values,
        final_obs=np.zeros(3, np.float32),
        boundary_steps=np.array([[i, 0] for i in ends], int).reshape(-1, 2),
        boundary_observations=np.zeros((len(ends), 3), np.float32),
    )


def standardized(x):
    x = np.asarray(x, float)
    return (x - x.mean()) / x.std()


def test_the_step_follows_the_gradient_of_the_loss(make):
    """Against float64 definitions: targets, loss, clipped gradient, one step of plain descent."""
    model = make.sequential(3, 4)
    weights = [np.array(v.numpy(), float) for v in model.variables]
    hp = {"gamma": 0.5, "entropy_coef": 0.1, "max_grad_norm": 0.05, "learning_rate": 0.1}
    agent = TFAgent(model, keras.optimizers.SGD(0.1), hp, device="cpu", seed=0)
    data = window([1.0, 2.0, 4.0, 8.0, 3.0], terminated=[2])
    report = agent.learn(data)
    targets = standardized([1 + 0.5 * (2 + 0.5 * 4), 2 + 0.5 * 4, 4.0, 8 + 0.5 * 3, 3.0])
    policy = policies.categorical(data.observations @ weights[0] + weights[1], data.actions)
    loss = -(targets * policy.log_probs).mean() - 0.1 * policy.entropies.mean()
    by = -(targets[:, None] * policy.d_log_probs["logits"] + 0.1 * policy.d_entropies["logits"]) / 5
    gradients = [data.observations.T @ by, by.sum(axis=0)]
    norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
    assert report["loss"] == pytest.approx(loss, rel=1e-5)
    assert report["grad_norm"] == pytest.approx(norm, rel=1e-5)
    assert norm > 0.05  # so that the clip is seen
    for variable, before, gradient in zip(model.variables, weights, gradients, strict=True):
        np.testing.assert_allclose(variable.numpy(), before - 0.1 * gradient * 0.05 / norm, atol=1e-6)


def test_which_baseline_is_used(make):
    rewards = [1.0, -1.0, 2.0, 0.5]
    plain = TFAgent(make.sequential(3, 4), Adam(1e-2), device="cpu", seed=0)
    assert plain.learn(window(rewards))["baseline_type"] == "reinforce"
    assert plain.learn(window(rewards, values=np.zeros(4)))["baseline_type"] == "a2c"
    hp = {"vf_coef": 5.0, "max_grad_norm": 100.0}
    critic = TFAgent(with_values(), Adam(3e-2), hp, device="cpu", seed=0)
    assert critic.learn(window(rewards))["baseline_type"] == "a2c"
    for _ in range(200):
        last = critic.learn(window(rewards, terminated=[3]))
    assert last["explained_variance"] > 0.9  # four values are soon known


def test_a_loss_of_the_users_replaces_ours(make):
    calls = []
    model = make.sequential(3, 4)
    before = [v.numpy().copy() for v in model.variables]

    def loss(given, data, targets):
        calls.append((given, data, np.array(targets)))
        return tf.reduce_mean(given(data.observations)[:, 0])

    agent = TFAgent(model, keras.optimizers.SGD(0.1), {"max_grad_norm": 1e9}, loss, device="cpu", seed=0)
    data = window([1.0, 2.0, 4.0], terminated=[0, 1, 2])
    agent.learn(data)
    assert len(calls) == 1
    assert calls[0][0] is model
    assert calls[0][1] is data
    np.testing.assert_allclose(calls[0][2], standardized([1.0, 2.0, 4.0]), rtol=1e-6)
    gradient = np.zeros((3, 4))
    gradient[:, 0] = data.observations.mean(axis=0)
    np.testing.assert_allclose(model.variables[0].numpy(), before[0] - 0.1 * gradient, atol=1e-6)
    np.testing.assert_allclose(model.variables[1].numpy(), before[1] - [0.1, 0, 0, 0], atol=1e-6)


def test_a_loss_that_is_none_is_refused(make):
    agent = TFAgent(make.sequential(3, 4), Adam(), None, lambda *_: 1.0, device="cpu")
    with pytest.raises(ConfigError, match="scalar tensor"):
        agent.learn(window([1.0, 2.0]))


def test_a_gradient_that_is_not_finite_makes_no_step(make):
    model = make.sequential(3, 4)
    agent = TFAgent(model, Adam(), device="cpu", seed=0)
    before = model.variables[0].numpy().copy()
    report = agent.learn(window([1.0, math.nan, 2.0]))
    assert math.isnan(report["loss"])
    assert report["n_updates"] == 0
    np.testing.assert_array_equal(model.variables[0].numpy(), before)


def test_it_acts_by_its_probabilities_and_apart_from_training(make):
    agent = TFAgent(make.sequential(3, 4), Adam(), device="cpu", seed=0)
    seen = np.random.default_rng(0).standard_normal((1, 3)).astype(np.float32)
    before = agent.acting_state()["policy"]
    drawn = np.bincount([agent.act(seen[0]) for _ in range(4000)], minlength=4) / 4000
    np.testing.assert_allclose(drawn, agent.action_probs(seen[0]), atol=0.04)
    assert agent.acting_state()["policy"] == before
    assert agent.act(seen[0], deterministic=True) == agent.action_probs_batch(seen)[0].argmax()


def test_subclasses_and_bad_hyperparameters(make):
    class Own(TFAgent):
        def learn(self, episode_data):
            return super().learn(episode_data) | {"mine": 1.0}

    agent = Own(make.sequential(3, 4), Adam(5e-3), device="cpu")
    assert agent.get_hyperparams().params["learning_rate"] == 5e-3
    assert agent.learn(window([1.0, 2.0]))["mine"] == 1.0
    assert agent.learn(window([]))["n_updates"] == 0
    with pytest.raises(HyperparamError, match="clip_ratio"):
        agent.set_hyperparams(HyperparamSet({"clip_ratio": 0.1}))


# --- the evaluator ---


def test_the_evaluator_is_the_default_one_unless_weights_are_given():
    data = window([1.0, 2.0, 4.0], terminated=[1])
    plain, default = TFEvaluator(), MeanReturnEvaluator()
    assert plain.score(data, {}).primary_score == default.score(data, {}).primary_score == 3.0
    assert plain.score(data, {"loss": 0.5}).metrics["loss"] == 0.5


def test_the_weighting_of_older_code():
    data = window([1.0, 2.0, 6.0])
    mean, std = 3.0, math.sqrt(14 / 3)
    both = TFEvaluator(reward_weight=1.0, stability_weight=1.0).score(data, {}).primary_score
    assert both == pytest.approx(0.5 * mean - 0.5 * std)
    mixed = TFEvaluator(2.0, 1.0, 1.0, max_episode_length=6).score(data, {}).primary_score
    assert mixed == pytest.approx(0.5 * mean - 0.25 * std + 0.25 * 0.5)
    assert TFEvaluator(1.0, 0.0).score(data, {}).primary_score == pytest.approx(mean)
    own = TFEvaluator(1.0, 1.0, primary_score_fn=lambda window, diagnostics: 7.0)
    assert own.score(data, {}).primary_score == 7.0


@pytest.mark.parametrize(
    "bad",
    [{"reward_weight": 0.0, "stability_weight": 0.0}, {"reward_weight": -1.0}, {"max_episode_length": 0}],
)
def test_weights_that_cannot_be_are_refused(bad):
    with pytest.raises(ValueError, match="must be at least"):
        TFEvaluator(**bad)
