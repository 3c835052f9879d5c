"""What is measured, the same for both sides."""

from __future__ import annotations

import gymnasium as gym
import numpy as np

WARM_UP = 500


class HalfCheetahShaped(gym.Env):
    """Observations and actions as wide as HalfCheetah's (17 and 6), and next to no cost of its own."""

    def __init__(self):
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (17,), np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (6,), np.float32)
        mixing = np.random.default_rng(0)
        self._a = (0.9 * np.linalg.qr(mixing.standard_normal((17, 17)))[0]).astype(np.float32)
        self._b = (0.3 * mixing.standard_normal((17, 6))).astype(np.float32)
        self._x = np.zeros(17, np.float32)
        self._t = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._x = self.np_random.standard_normal(17).astype(np.float32)
        self._t = 0
        return self._x, {}

    def step(self, action):
        self._x = self._a @ self._x + self._b @ np.asarray(action, np.float32)
        self._t += 1
        return self._x, -float(self._x @ self._x), False, self._t >= 1000, {}


CONTINUOUS = {
    "learning_rate": 3e-4,
    "batch_size": 256,
    "replay_capacity": 100_000,
    "learning_starts": WARM_UP,
    "train_freq": 1,
    "gradient_steps": 1,
    "hidden_sizes": [256, 256],
}
CASES = {
    "dqn-cartpole": {
        "algorithm": "DQN",
        "env": "CartPole-v1",
        "steps": 6000,
        "goal": 2.0,
        "agent": {
            "learning_rate": 1e-3,
            "batch_size": 64,
            "replay_capacity": 100_000,
            "learning_starts": WARM_UP,
            "train_freq": 1,
            "gradient_steps": 1,
            "target_update_freq": 500,
            "hidden_sizes": [64, 64],
        },
    },
    "sac-pendulum": {
        "algorithm": "SAC",
        "env": "Pendulum-v1",
        "steps": 1500,
        "goal": 1.7,
        "agent": CONTINUOUS,
    },
    "td3-pendulum": {
        "algorithm": "TD3",
        "env": "Pendulum-v1",
        "steps": 2000,
        "goal": 1.7,
        "agent": CONTINUOUS,
    },
    "sac-half-cheetah-shaped": {
        "algorithm": "SAC",
        "env": None,
        "steps": 1500,
        "goal": 1.7,
        "agent": CONTINUOUS,
    },
    "td3-half-cheetah-shaped": {
        "algorithm": "TD3",
        "env": None,
        "steps": 2000,
        "goal": 1.7,
        "agent": CONTINUOUS,
    },
}
"""Steps are those that are timed, after the warm-up; ``env`` None is the environment above."""


def make(env):
    return HalfCheetahShaped() if env is None else gym.make(env)
