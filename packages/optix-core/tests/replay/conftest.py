"""A stream of steps whose every number says where it comes from, and the plainest possible reading of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest


@dataclass
class Step:
    """One step of one environment, as it happened."""

    observation: np.ndarray
    action: int
    reward: float
    after: np.ndarray
    terminated: bool
    truncated: bool
    cut: bool = False  # the next step of this environment begins elsewhere


class Stream:
    """N environments that end episodes at random; keeps a plain list of everything per environment."""

    def __init__(self, n_envs, seed, *, end=0.25, jump=0.0, dtype=np.float32, width=3):
        self.n, self.rng, self.end, self.jump = n_envs, np.random.default_rng(seed), end, jump
        self.dtype, self.width = dtype, width
        self.history = [[] for _ in range(n_envs)]
        self._counter = 0
        self._now = [self._fresh() for _ in range(n_envs)]

    def _fresh(self):
        self._counter += 1
        return (np.arange(self.width) + 7 * self._counter).astype(self.dtype)

    def step(self):
        """The arguments of ``add`` for one vector step."""
        rows = []
        for n in range(self.n):
            if self.history[n] and self.rng.random() < self.jump:
                last = self.history[n][-1]
                last.cut = not (last.terminated or last.truncated)
                self._now[n] = self._fresh()
            kind = self.rng.random()
            terminated, truncated = kind < self.end / 2, self.end / 3 < kind < self.end
            step = Step(
                self._now[n], int(self.rng.integers(4)), float(np.float32(self.rng.normal())),
                self._fresh(), bool(terminated), bool(truncated),
            )  # fmt: skip
            self.history[n].append(step)
            self._now[n] = self._fresh() if terminated or truncated else step.after
            rows.append(step)
        return (
            np.stack([r.observation for r in rows]),
            np.asarray([r.action for r in rows]),
            np.asarray([r.reward for r in rows]),
            np.stack([r.after for r in rows]),
            np.asarray([r.terminated for r in rows]),
            np.asarray([r.truncated for r in rows]),
        )

    def feed(self, buffer, steps):
        for _ in range(steps):
            buffer.add(*self.step())
        return buffer

    def origin(self, buffer, row):
        """Which environment and time a row of ``buffer`` holds."""
        total = len(self.history[0]) * self.n
        number = total - 1 - (total - 1 - row) % buffer.capacity
        return number % self.n, number // self.n

    def walk(self, n, t, n_step, gamma):
        """Return, discount, what follows and the last step, by walking one step at a time."""
        total, discount = 0.0, 1.0
        for at in range(t, len(self.history[n])):
            step = self.history[n][at]
            total += discount * step.reward
            discount *= gamma
            if step.terminated:
                return total, 0.0, step.after, at
            if step.truncated or step.cut or at - t + 1 == n_step:
                break
        return total, discount, step.after, at


@pytest.fixture(scope="session")
def stream():
    return Stream
