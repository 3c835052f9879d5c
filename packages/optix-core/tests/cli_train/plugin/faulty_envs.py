"""Environments for tests: each breaks its contract in one way."""

from __future__ import annotations

import math
import time
from typing import Any

import gymnasium as gym
import numpy as np


class Base(gym.Env[Any, Any]):
    def __init__(self) -> None:
        self.observation_space = gym.spaces.Box(-10.0, 10.0, (3,), np.float32)
        self.action_space = gym.spaces.Discrete(2)
        self.t = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        return self.np_random.normal(size=3).astype(np.float32).clip(-9, 9), {}

    def step(self, action: Any) -> Any:
        self.t += 1
        observation = self.np_random.normal(size=3).astype(np.float32).clip(-9, 9)
        return observation, self.reward(action), self.t >= 20, False, {}

    def reward(self, action: Any) -> float:
        return float(action)


class Raises(Base):
    def reward(self, action: Any) -> float:
        raise ZeroDivisionError("the simulator fell over")


class NanReward(Base):
    def reward(self, action: Any) -> float:
        return math.nan


class NanObservation(Base):
    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = super().step(action)
        observation[1] = np.nan
        return observation, reward, terminated, truncated, info


class SeldomNan(Base):
    def reward(self, action: Any) -> float:
        return math.nan if self.np_random.random() < 0.002 else float(action)


class Slow(Base):
    def reward(self, action: Any) -> float:
        time.sleep(0.02)
        return float(action)


for cls in (Raises, NanReward, NanObservation, SeldomNan, Slow, Base):
    gym.register(f"{cls.__name__}-v0", entry_point=cls, max_episode_steps=50)
