"""What the loop asks of an agent besides learning: acting that leaves no trace, caution after a divergence."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from optix_core.base_agent import ActingState, DivergenceRecovery
from optix_core.factory import make_agent


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
def test_acting_can_be_undone(env_id):
    env = gym.make(env_id)
    agent = make_agent("PPO", env, seed=0)
    assert isinstance(agent, ActingState)
    observations = np.stack([env.observation_space.sample() for _ in range(4)])
    before = agent.acting_state()
    first = [agent.act_batch(observations).copy() for _ in range(3)]
    alone = [agent.act(observations[0]) for _ in range(3)]
    agent.load_acting_state(before)
    np.testing.assert_array_equal([agent.act_batch(observations) for _ in range(3)], first)
    np.testing.assert_array_equal([agent.act(observations[0]) for _ in range(3)], alone)
    env.close()


def test_after_a_divergence_the_learning_rate_is_halved():
    env = gym.make("CartPole-v1")
    agent = make_agent("PPO", env, seed=0, learning_rate=1e-3)
    assert isinstance(agent, DivergenceRecovery)
    assert agent.on_divergence() == {"learning_rate": 5e-4}
    assert agent.get_hyperparams().params["learning_rate"] == pytest.approx(5e-4)
    env.close()
