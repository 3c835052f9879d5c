"""REINFORCE and A2C for users' models, and the evaluator that goes with them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from optix_core.base_agent import ActionProbabilities, BatchActing
from optix_core.errors import ConfigError, HyperparamError, IncompatibleCheckpoint
from optix_core.evaluators.mean_return import MeanReturnEvaluator
from optix_core.state import Stateful
from optix_core.testing.tiny_envs import TinyDiscrete
from optix_core.testing.windows import collect
from optix_core.types import EpisodeData, HyperparamSet
from optix_torch import TorchAgent, TorchEvaluator


class WithValues(nn.Module):
    def __init__(self, body, policy, value):
        super().__init__()
        self.body, self.policy, self.value = body, policy, value

    def forward(self, x):
        hidden = torch.tanh(self.body(x))
        return self.policy(hidden), self.value(hidden)


@pytest.fixture
def agent(make):
    def build(*, values=False, hyperparams=None, loss=None, seed=0, lr=1e-2):
        model = make.sequential(3, 8, 4)
        if values:
            model = WithValues(make.sequential(3, 8), make.sequential(8, 4), make.sequential(8, 1, seed=1))
        return TorchAgent(
            model, torch.optim.Adam(model.parameters(), lr), hyperparams, loss, "cpu", seed=seed
        )

    return build


def window(rewards, terminated=(), truncated=(), *, values=None, actions=None, observation=0.0):
    t = len(rewards)
    ends = sorted({*terminated, *truncated})
    flags = np.zeros((2, t), bool)
    flags[0, list(terminated)] = True
    flags[1, list(truncated)] = True
    return EpisodeData(
        np.full((t, 3), observation, np.float32),
        np.zeros(t, np.int64) if actions is None else actions,
        rewards,
        *flags,
        values=values,
        final_obs=np.full(3, observation, np.float32),
        boundary_steps=np.array([[i, 0] for i in ends], int).reshape(-1, 2),
        boundary_observations=np.full((len(ends), 3), observation, np.float32),
    )


def targets_of(agent_factory, data, **options):
    seen = []

    def loss(model, episode_data, targets):
        seen.append(targets.numpy().copy())
        assert episode_data is data
        return sum(p.sum() for p in model.parameters()) * 0.0

    agent_factory(loss=loss, **options).learn(data)
    assert len(seen) == 1  # called once per window
    return seen[0]


def standardised(x):
    return (np.asarray(x) - np.mean(x)) / np.std(x)


def test_capabilities(agent):
    assert isinstance(agent(), BatchActing)
    assert isinstance(agent(), Stateful)
    assert isinstance(agent(), ActionProbabilities)


def test_acting_samples_the_policy_while_training_and_is_greedy_when_asked(agent):
    ours = agent()
    x = np.array([1.0, -1.0, 0.5])
    p = ours.action_probs(x)
    assert p.sum() == pytest.approx(1.0)
    n = 4000
    frequency = np.bincount(ours.act_batch(np.tile(x, (n, 1))), minlength=4) / n
    assert (np.abs(frequency - p) < 5 * np.sqrt(p * (1 - p) / n) + 1e-3).all()
    assert {ours.act(x, deterministic=True) for _ in range(20)} == {int(p.argmax())}


def test_returns_do_not_cross_a_terminal_state(agent):
    data = window([1.0, 2.0, 4.0, 8.0], terminated=[1])
    expected = [1 + 0.5 * 2, 2.0, 4 + 0.5 * 8, 8.0]
    np.testing.assert_allclose(
        targets_of(agent, data, hyperparams={"gamma": 0.5}), standardised(expected), rtol=1e-5
    )


def test_recorded_values_are_a_baseline_and_continue_what_was_cut(agent):
    values = np.array([10.0, 20.0, 30.0, 40.0])
    data = window([1.0, 2.0, 4.0, 8.0], truncated=[1], values=values)
    returns = np.array([1 + 0.5 * (2 + 0.5 * 20), 2 + 0.5 * 20, 4 + 0.5 * (8 + 0.5 * 40), 8 + 0.5 * 40])
    np.testing.assert_allclose(
        targets_of(agent, data, hyperparams={"gamma": 0.5}), standardised(returns - values), rtol=1e-5
    )


@pytest.mark.parametrize("kind,last", [("terminated", 0.0), ("truncated", 1.0)])
def test_a_models_own_value_continues_time_limits_and_no_terminal_states(agent, kind, last):
    data = window([1.0, 2.0, 4.0], **{kind: [1]}, observation=0.3)
    ours = agent(values=True)
    with torch.no_grad():
        v = float(ours._model(torch.full((1, 3), 0.3))[1])
    returns = np.array([1 + 0.5 * (2 + 0.5 * v * last), 2 + 0.5 * v * last, 4 + 0.5 * v])
    np.testing.assert_allclose(
        targets_of(agent, data, values=True, hyperparams={"gamma": 0.5}), standardised(returns - v), rtol=1e-4
    )


def test_the_loss_is_that_of_the_policy_gradient(agent):
    ours = agent(hyperparams={"gamma": 0.0, "max_grad_norm": 1e9})
    data = window([0.0, 1.0], actions=np.array([0, 2]))  # standardised targets: -1, +1
    with torch.no_grad():
        log_p = torch.log_softmax(ours._model(torch.zeros(1, 3)), -1)[0]
    report = ours.learn(data)
    assert report["loss"] == pytest.approx(float(log_p[0] - log_p[2]) / 2, rel=1e-5)
    assert report["baseline_type"] == "reinforce"
    assert report["grad_norm"] > 0


def test_reports_of_an_actor_critic(agent):
    report = agent(values=True).learn(window([1.0, 2.0, 3.0]))
    assert report["baseline_type"] == "a2c"
    assert all(math.isfinite(report[name]) for name in ("loss", "grad_norm", "explained_variance"))


@pytest.mark.parametrize("values", [False, True])
def test_it_learns_a_tiny_environment(agent, make, values):
    body = WithValues(make.sequential(2, 8), make.sequential(8, 2), make.sequential(8, 1)) if values else None
    model = body or make.sequential(2, 8, 2)
    ours = TorchAgent(model, torch.optim.Adam(model.parameters(), 3e-2), {"gamma": 0.5}, device="cpu", seed=0)
    env = TinyDiscrete()
    first = collect(ours, env, 200).rewards.mean()
    for i in range(60):
        ours.learn(collect(ours, env, 64, seed=i))
    assert first < 0.8
    assert collect(ours, env, 200).rewards.mean() > 0.95


def test_a_gradient_that_is_not_finite_makes_no_step(agent):
    ours = agent()
    before = ours._flat.to_numpy()
    report = ours.learn(window([1.0, math.nan]))
    assert math.isnan(report["loss"])
    assert report["n_updates"] == 0
    np.testing.assert_array_equal(ours._flat.to_numpy(), before)


def test_hyperparameters_are_checked_and_reach_the_optimizer(agent):
    ours = agent(lr=0.02)
    assert ours.get_hyperparams().params["learning_rate"] == 0.02
    ours.set_hyperparams(HyperparamSet({"learning_rate": 0.005}))
    assert ours._training.optimizer.param_groups[0]["lr"] == 0.005
    with pytest.raises(HyperparamError, match="clip_ratio"):
        ours.set_hyperparams(HyperparamSet({"clip_ratio": 0.1}))


def test_states_and_weights_come_back(agent, make, tmp_path):
    ours, other = agent(), agent(seed=4)
    data = window([1.0, 2.0, 3.0], terminated=[1], actions=np.array([0, 1, 2]))
    ours.learn(data)
    other.load_state_dict(ours.state_dict())
    assert ours.learn(data) == other.learn(data)
    np.testing.assert_array_equal(ours._flat.to_numpy(), other._flat.to_numpy())
    assert [ours.act(np.ones(3)) for _ in range(20)] == [other.act(np.ones(3)) for _ in range(20)]
    ours.save_weights(str(tmp_path / "w"))
    other.perturb_weights(0.5)
    assert not np.array_equal(ours._flat.to_numpy(), other._flat.to_numpy())
    other.average_weights([str(tmp_path / "w"), str(tmp_path / "w")])
    np.testing.assert_array_equal(ours._flat.to_numpy(), other._flat.to_numpy())
    before = ours._flat.to_numpy()
    with pytest.raises(IncompatibleCheckpoint, match="model/body"):
        ours.load_state_dict(agent(values=True).state_dict())
    np.testing.assert_array_equal(ours._flat.to_numpy(), before)
    model = make.sequential(3, 8, 4)
    with pytest.raises(ConfigError, match="lacks 2 of the 4 trainable parameters of model"):
        TorchAgent(model, torch.optim.Adam(model[0].parameters(), 1e-3), device="cpu")


def test_the_evaluator_is_the_mean_return_of_complete_episodes():
    data = window([1.0, 2.0, 4.0], terminated=[1])
    assert isinstance(TorchEvaluator(), MeanReturnEvaluator)
    assert TorchEvaluator().score(data, {"loss": 0.5}).primary_score == 3.0
    assert TorchEvaluator(lambda episode, _: episode.total_reward).score(data, {}).primary_score == 7.0
