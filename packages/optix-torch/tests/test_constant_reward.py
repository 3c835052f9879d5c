"""Reward 1 for ever is worth 1 / (1 - gamma), wherever the clock cuts it into episodes."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from optix_core import VectorBatchPipeline, make_agent
from optix_core.agents import ppo_update

GAMMA, LENGTH = 0.9, 4
ENDLESS = 1.0 / (1.0 - GAMMA)
"""10; the values of 4 to 1 more rewards of 1 are 3.4, 2.7, 1.9 and 1: 2.26 on average."""


class Constant(gym.Env):
    """One state, reward 1, and a clock that stops after ``LENGTH`` steps, as a time limit or as an end."""

    def __init__(self, *, continuous: bool, truncate: bool) -> None:
        self.observation_space = Box(0.0, 1.0, (1,))
        self.action_space = Box(-1.0, 1.0, (1,)) if continuous else Discrete(2)
        self._truncate, self._t = truncate, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._t = 0
        return np.ones(1, np.float32), {}

    def step(self, action):
        self._t += 1
        over = self._t >= LENGTH
        return np.ones(1, np.float32), 1.0, over and not self._truncate, over and self._truncate, {}


def learned_value(*, continuous, truncate, engine="auto"):
    def make():
        return Constant(continuous=continuous, truncate=truncate)

    options = {"normalize_observations": False, "normalize_rewards": False} if continuous else {}
    agent = make_agent("PPO", make(), seed=0, device="cpu", hidden_sizes=(16,), engine=engine, **options,
                       hyperparams={"gamma": GAMMA, "learning_rate": 1e-2, "n_epochs": 4})  # fmt: skip
    pipeline = VectorBatchPipeline([make] * 2, agent, 64, seed=0)
    pipeline.setup()
    episodes = pipeline.episodes()
    for _ in range(60):
        agent.learn(next(episodes))
    pipeline.teardown()
    return float(agent._networks.engine.values(np.ones((1, 1), np.float32))[0])


@pytest.mark.parametrize(
    "continuous,engine", [(False, "closed_form"), (True, "closed_form"), (False, "autograd")]
)
def test_a_time_limit_takes_nothing_from_the_value(continuous, engine):
    assert learned_value(continuous=continuous, truncate=True, engine=engine) == pytest.approx(
        ENDLESS, rel=0.05
    )


@pytest.mark.parametrize("continuous", [False, True])
def test_an_end_does(continuous):
    assert learned_value(continuous=continuous, truncate=False) == pytest.approx(2.26, rel=0.1)


@pytest.mark.parametrize("continuous", [False, True])
def test_taking_a_time_limit_for_an_end_would_be_noticed(continuous, monkeypatch):
    """The slip, planted: every boundary is treated as a terminal state."""
    module = ppo_update
    right = module.generalized_advantage_estimation

    def slipped(rewards, values, following, terminated, boundary, **options):
        return right(rewards, values, following, boundary, boundary, **options)

    monkeypatch.setattr(module, "generalized_advantage_estimation", slipped)
    assert learned_value(continuous=continuous, truncate=True) < 0.5 * ENDLESS
