"""Every agent hears of novelty, and an environment that chance does not solve is solved with it and not without."""

from __future__ import annotations

from itertools import islice

import gymnasium as gym
import numpy as np
import pytest

from optix_core import BatchPipeline, RNDPipeline, make_agent
from optix_core.state import arrays_in
from optix_core.testing import TinyBox, TinyDiscrete

ON_POLICY = {"PPO": TinyDiscrete, "GaussianPPO": TinyBox, "RecurrentPPO": TinyDiscrete}
STEPWISE = {"DQN": TinyDiscrete, "Rainbow": TinyDiscrete, "SAC": TinyBox, "TD3": TinyBox}


class Corridor(gym.Env):
    """``length`` places in a row; the last one ends the episode and pays 1. Bumping into the first one pays 0.001.

    A random walk of ``limit`` steps reaches the end in about 2 episodes of 10,000, and the crumbs lead the other way.
    """

    def __init__(self, length=30, limit=50):
        self.length, self.limit = length, limit
        self.observation_space = gym.spaces.Box(0.0, 1.0, (length,), np.float32)
        self.action_space = gym.spaces.Discrete(2)

    def _seen(self):
        return np.eye(self.length, dtype=np.float32)[self.x]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.k = 0
        return self._seen(), {}

    def step(self, action):
        crumb = 0.001 if action == 0 and self.x == 0 else 0.0
        self.x, self.k = max(0, self.x + (1 if action else -1)), self.k + 1
        over = self.x == self.length - 1
        return self._seen(), 1.0 if over else crumb, over, self.k >= self.limit, {}


def share_of_goals(seed, *, eta, windows=22):
    """In what share of its last episodes a PPO agent reaches the end."""
    env = Corridor()
    agent = make_agent("PPO", env, seed=seed)
    pipeline = BatchPipeline(env, agent, 512, seed=seed)
    if eta:
        pipeline = RNDPipeline(pipeline, env.length, eta=eta, seed=seed)
    pipeline.set_agent(agent)
    reached = []
    for window in islice(pipeline.episodes(), windows):
        agent.learn(window)
        reached += [episode.terminated for episode in window.episodes]
    pipeline.teardown()
    return float(np.mean(reached[-10:]))


def test_a_corridor_that_chance_does_not_solve_is_solved_by_novelty():
    """Acceptance test 22, its other half: what the bonus is for."""
    assert [share_of_goals(seed, eta=1.0) for seed in range(2)] == [1.0, 1.0]
    assert [share_of_goals(seed, eta=0.0) for seed in range(2)] == [0.0, 0.0]


@pytest.mark.parametrize("name", ON_POLICY)
def test_agents_of_windows_learn_from_the_sum_of_reward_and_bonus(name):
    env = ON_POLICY[name]()
    agents = [make_agent(name, env, seed=0) for _ in range(3)]
    stored = agents[0].state_dict()
    pipeline = RNDPipeline(BatchPipeline(env, agents[0], 64, seed=0), 2, eta=5.0)
    window = next(pipeline.episodes())
    pipeline.teardown()
    for agent in agents:  # acting changed the random stream of the first one
        agent.load_state_dict(stored)
    bonus, rewards = window.intrinsic_rewards, window.rewards
    agents[0].learn(window)
    window.rewards, window.intrinsic_rewards = rewards + bonus, None
    agents[1].learn(window)
    window.rewards = rewards
    agents[2].learn(window)
    both, summed, without = (arrays_in(agent.state_dict()) for agent in agents)
    for key, value in both.items():
        np.testing.assert_array_equal(value, summed[key], err_msg=key)
    assert any((value != without[key]).any() for key, value in both.items())


@pytest.mark.parametrize("name", STEPWISE)
def test_stepwise_agents_store_rewards_with_the_bonus(name):
    env = STEPWISE[name]()
    agent = make_agent(name, env, seed=0)
    told = []
    observe = agent.observe

    def listening(observations, actions, rewards, *rest):
        told.append(float(rewards[0]))
        observe(observations, actions, rewards, *rest)

    agent.observe = listening
    pipeline = RNDPipeline(BatchPipeline(env, window_size=16, seed=0), 2, eta=2.0)
    pipeline.set_agent(agent)
    first, second = islice(pipeline.episodes(), 2)
    pipeline.teardown()
    np.testing.assert_allclose(told[:16], first.rewards)  # nothing was known yet
    more = np.array(told[16:]) - second.rewards
    assert (more > 0).any()
    assert (more >= 0).all()
    stored = agent._replay.column("reward")[: len(told)]
    np.testing.assert_allclose(stored, np.array(told, stored.dtype))
