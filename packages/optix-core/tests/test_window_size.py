"""Window sizes fit the environment, and finding them harms nothing."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from optix_core.errors import ConfigError
from optix_core.window_size import optimal_window_size


class Plain(gym.Env):
    """No time limit, no spec; episodes of ``length`` steps."""

    observation_space = gym.spaces.Box(-1, 1, (1,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self, length):
        self.length, self.calls = length, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.calls += 1
        self.k = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.calls += 1
        self.k += 1
        return np.zeros(1, np.float32), 0.0, self.k >= self.length, False, {}


@pytest.mark.parametrize(
    "name,algorithm,expected",
    [
        ("CartPole-v1", "PPO", 2000),
        ("CartPole-v1", "SAC", 512),
        ("CartPole-v1", "dqn", 512),
        ("CartPole-v1", "default", 1000),
        ("Pendulum-v1", "PPO", 800),
        ("Pendulum-v1", "Recurrent PPO", 800),
        ("MountainCarContinuous-v0", "recurrent_ppo", 3996),
        ("MountainCarContinuous-v0", "TD3", 999),
        ("MountainCarContinuous-v0", "Rainbow-DQN", 999),
    ],
)
def test_registered_environments(name, algorithm, expected):
    assert optimal_window_size(gym.make(name), algorithm) == expected


def test_bounds():
    env = gym.make("CartPole-v1")
    assert optimal_window_size(env, "PPO", max_steps=1500) == 1500
    assert optimal_window_size(env, "DQN", min_steps=600) == 600
    for bounds in ({"min_steps": 0}, {"min_steps": 100, "max_steps": 99}):
        with pytest.raises(ConfigError, match="1 <= min_steps <= max_steps"):
            optimal_window_size(env, **bounds)


def test_a_limit_of_any_wrapper_counts():
    env = gym.wrappers.RecordEpisodeStatistics(gym.wrappers.TimeLimit(Plain(10**9), 300))
    assert optimal_window_size(env, "PPO") == 1200

    class Own(Plain):
        _max_episode_steps = 250

    assert optimal_window_size(Own(10**9), "PPO") == 1000


def test_otherwise_random_episodes_are_measured_on_a_copy():
    env = Plain(700)
    env.reset(seed=3)
    before = (env.calls, env.k, env.np_random.bit_generator.state)
    assert optimal_window_size(env) == 1400
    assert (env.calls, env.k, env.np_random.bit_generator.state) == before


def test_endless_episodes_end_the_measurement():
    env = Plain(10**9)
    assert optimal_window_size(env) == 8192
    assert optimal_window_size(Plain(5000), "sac") == 5000  # the two that fit into the bound


def test_what_cannot_be_copied_is_said():
    class Unique(Plain):
        def __deepcopy__(self, memo):
            raise TypeError("holds a device")

    env = Unique(50)
    with pytest.warns(RuntimeWarning, match="pass window_size"):
        assert optimal_window_size(env) == 2000
    assert env.calls == 0
