"""Environments and agents with known behaviour, handed to tests as the fixture ``kit``."""

from __future__ import annotations

from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces


class CountingEnv(gym.Env):
    """Observes (seed mod 1000, steps so far, last action); reward = number of the step; ``length`` steps long."""

    def __init__(self, length=5, *, truncates=False, reuse_buffer=False):
        self.observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float64)
        self.action_space = spaces.Discrete(4)
        self.length, self.truncates = length, truncates
        self.buffer = np.zeros(3) if reuse_buffer else None
        self.resets, self.closed, self.received = [], 0, []
        self.k = self.seed_used = None

    def _obs(self, action):
        value = (float(self.seed_used % 1000), float(self.k), float(action))
        if self.buffer is None:
            return np.array(value)
        self.buffer[:] = value
        return self.buffer

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.resets.append(seed)
        self.k, self.seed_used = 0, seed if seed is not None else 0
        return self._obs(-1), {}

    def step(self, action):
        self.received.append(action)
        self.k += 1
        over = self.k >= self.length
        return (
            self._obs(action),
            float(self.k),
            over and not self.truncates,
            over and self.truncates,
            {"k": self.k},
        )

    def close(self):
        self.closed += 1


class FaultyEnv(CountingEnv):
    """Does ``what`` in the given global steps of this object (or of the shared counter, if given)."""

    def __init__(self, what, at, length=5, counter=None):
        super().__init__(length)
        self.what, self.at = what, set(at)
        self.counter = counter if counter is not None else [0]

    def step(self, action):
        now, self.counter[0] = self.counter[0], self.counter[0] + 1
        observation, reward, terminated, truncated, info = super().step(action)
        if now in self.at:
            if self.what == "raise":
                raise RuntimeError("boom")
            if self.what == "nan":
                observation = np.array([observation[0], np.nan, observation[2]])
            if self.what == "inf":
                observation = np.array([observation[0], observation[1], -np.inf])
            if self.what == "reward":
                reward = float("nan")
        return observation, reward, terminated, truncated, info


class DriftingEnv(CountingEnv):
    """Remembers earlier episodes, so that a used object does not repeat an episode exactly."""

    def __init__(self, length=5):
        super().__init__(length)
        self.memory = 0.0

    def step(self, action):
        self.memory += 1e-3
        observation, *rest = super().step(action)
        observation[2] += self.memory
        return observation, *rest


class WalkEnv(gym.Env):
    """Gaussian random walk with its own generator; actions push it; terminates beyond 3, truncates after 40 steps."""

    def __init__(self):
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = spaces.Box(-0.4, 0.4, (2,), np.float32)
        self.received = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.k = self.np_random.normal(size=2), 0
        return self.x.astype(np.float32), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.received.append(np.array(action))
        self.x = self.x + action + 0.5 * self.np_random.normal(size=2)
        self.k += 1
        over = bool(np.abs(self.x).max() > 3)
        return self.x.astype(np.float32), float(self.x.sum()), over, not over and self.k >= 40, {}


class CapturedWalkEnv(WalkEnv):
    """A walk that can say and set its state; it refuses to be repeated from its seed."""

    def __init__(self):
        super().__init__()
        self.restored = 0

    def get_state(self):
        return {"x": self.x.copy(), "k": self.k, "rng": dict(self.np_random.bit_generator.state)}

    def set_state(self, state):
        self.restored += 1
        self.x, self.k = np.array(state["x"]), state["k"]
        self.np_random.bit_generator.state = state["rng"]


class CountingAgent:
    """Chooses ``(episode step + seed) mod 4`` of CountingEnv's observation: a function of the observation alone."""

    def act(self, observation):
        return int(observation[1] + observation[0]) % 4


class BatchAgent(CountingAgent):
    def __init__(self):
        self.batches = []

    def act_batch(self, observations, *, deterministic=False):
        self.batches.append((len(observations), deterministic))
        return (observations[:, 1] + observations[:, 0]).astype(np.int64) % 4

    def env_actions(self, actions):
        return actions


class ObservingAgent(BatchAgent):
    """Keeps a copy of everything it is told."""

    def __init__(self):
        super().__init__()
        self.told = []

    def observe(self, *transition):
        self.told.append(tuple(np.array(part) for part in transition))


class PushAgent:
    """Continuous policy: pushes back, as a fraction of the allowed push; the window stores the fraction."""

    def act_batch(self, observations, *, deterministic=False):
        return np.tanh(-observations)

    def env_actions(self, actions):
        return (0.4 * actions).astype(np.float32)

    def act(self, observation):
        return self.env_actions(self.act_batch(observation[None]))[0]


def collect(pipeline, windows):
    iterator = pipeline.episodes()
    return [next(iterator) for _ in range(windows)]


def assert_same(a, b):
    """Two windows are equal, bit for bit, apart from the wall clock."""
    for name in (
        "observations",
        "actions",
        "rewards",
        "terminated",
        "truncated",
        "final_obs",
        "boundary_steps",
        "boundary_observations",
    ):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    np.testing.assert_array_equal(np.asarray(a.episode_starts), np.asarray(b.episode_starts))
    assert a.episodes == b.episodes
    assert a.episode_id == b.episode_id


@pytest.fixture
def kit():
    return SimpleNamespace(
        CountingEnv=CountingEnv,
        FaultyEnv=FaultyEnv,
        DriftingEnv=DriftingEnv,
        WalkEnv=WalkEnv,
        CapturedWalkEnv=CapturedWalkEnv,
        CountingAgent=CountingAgent,
        BatchAgent=BatchAgent,
        ObservingAgent=ObservingAgent,
        PushAgent=PushAgent,
        collect=collect,
        assert_same=assert_same,
    )
