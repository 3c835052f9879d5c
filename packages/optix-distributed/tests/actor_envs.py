"""Environments that misbehave on request; actors import this module by the search path they are given."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete


class CartPole:
    """Makes CartPole-v1; a class, so that it has arguments and travels."""

    def __init__(self, **kwargs):
        self.kwargs = kwargs

    def __call__(self):
        return gym.make("CartPole-v1", **self.kwargs)


class Pendulum:
    def __call__(self):
        return gym.make("Pendulum-v1", max_episode_steps=30)


class Counting(gym.Env):
    """Observations count steps, so that every row of a trajectory says where it is from."""

    observation_space = Box(-np.inf, np.inf, (2,), np.float64)
    action_space = Discrete(2)

    def __init__(self, length=7, truncate=False):
        self.length, self.truncate, self.seed = length, truncate, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.seed = 0, float((seed or 0) % 1000)
        return np.array([self.t, self.seed]), {}

    def step(self, action):
        self.t += 1
        end = self.t >= self.length
        return (
            np.array([self.t, self.seed]),
            float(self.t),
            end and not self.truncate,
            end and self.truncate,
            {},
        )


class Make:
    """Makes an environment of this module."""

    def __init__(self, kind, *args, **kwargs):
        self.kind, self.args, self.kwargs = kind, args, kwargs

    def __call__(self):
        return self.kind(*self.args, **self.kwargs)


class Misbehaving(Counting):
    """Does something at step k: of its own life, counted over episodes.

    Args:
        what: ``raise``, ``exit``, ``sleep``, ``spin`` (in C, with the lock held), ``nan``, ``child``.
        at: k.
        flag: A file; misbehave only as long as it does not exist, and make it then.
        each: Sleep so many seconds in every step.
    """

    def __init__(self, what, at=20, flag=None, each=0.0):
        super().__init__()
        self.what, self.at, self.flag, self.each, self.steps = what, at, flag, each, 0
        if what == "child" and os.getpgid(0) == os.getpid():  # an actor leads a group of processes
            self.child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            Path(flag).write_text(f"{os.getpid()} {self.child.pid}")

    def step(self, action):
        self.steps += 1
        if self.each:
            time.sleep(self.each)
        found = super().step(action)
        if self.steps >= self.at and (self.flag is None or not Path(self.flag).exists()):
            if self.flag is not None:
                Path(self.flag).touch()
            if self.what == "raise":
                raise ValueError(f"the wheel fell off in step {self.steps}")
            if self.what == "exit":
                print("last words", flush=True)
                os._exit(7)
            if self.what == "sleep":
                time.sleep(600)
            if self.what == "spin":
                sum(range(10**12))
        if self.what == "nan" and self.steps % self.at == 0:
            return found[0], float("nan"), *found[2:]
        return found


class Masked(Counting):
    """Allows one action only, that of the parity of the step."""

    def reset(self, *, seed=None, options=None):
        observation, _ = super().reset(seed=seed)
        return observation, {"action_mask": self._mask()}

    def step(self, action):
        if not self._mask()[action]:
            raise AssertionError("a masked action was taken")
        observation, reward, terminated, truncated, _ = super().step(action)
        return observation, reward, terminated, truncated, {"action_mask": self._mask()}

    def _mask(self):
        return np.array([self.t % 2 == 0, self.t % 2 == 1])


class Parts(Counting):
    """Observations with parts."""

    observation_space = Dict({"a": Box(-1e6, 1e6, (2,), np.float32), "b": Discrete(3)})

    def reset(self, *, seed=None, options=None):
        observation, info = super().reset(seed=seed)
        return {"a": observation.astype(np.float32), "b": 0}, info

    def step(self, action):
        observation, *rest = super().step(action)
        return {"a": observation.astype(np.float32), "b": self.t % 3}, *rest
