"""A grid in which a goal is asked for that trying at random hardly ever reaches."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import ArrayLike, NDArray

Observation = dict[str, NDArray[np.float32]]


class GoalGrid(gym.Env[Any, np.int64]):
    """Walk from one cell of a square grid to another: -1 per step, 0 for the step that arrives and ends the episode.

    Start and goal are drawn afresh, at least ``size - 1`` steps apart, and ``2 * size`` steps are allowed. In the
    default grid a random walk arrives in fewer than one of a hundred episodes, so a learner that only sees the rewards
    it was given sees -1 and little else, while every walk shows how to reach the cells that it came through. Walking
    straight always arrives; the best return is ``1 - distance``, at least ``3 - 2 * size``.

    Observations are the Dict that goal environments have: ``observation`` and ``achieved_goal`` (where one is) and
    ``desired_goal`` (where to go), each ``[2]`` float32 in [-1, 1]. Actions: up, down, right, left; walls stop.
    ``info["is_success"]`` says whether the goal was reached.

    Args:
        size: Cells per side, at least 2.
    """

    def __init__(self, size: int = 15) -> None:
        parts: dict[str, gym.Space[Any]] = {
            key: gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
            for key in ("observation", "achieved_goal", "desired_goal")
        }
        self.observation_space = gym.spaces.Dict(parts)
        self.action_space = gym.spaces.Discrete(4)
        self.size, self.length = size, 2 * size
        self._cell = self._goal = np.zeros(2, np.int64)
        self._t = 0

    def compute_reward(
        self, achieved_goal: ArrayLike, desired_goal: ArrayLike, info: Any
    ) -> NDArray[np.float64]:
        """``[...]``: 0 where the goals ``[..., 2]`` are the same cell, else -1."""
        return np.subtract(self.compute_terminated(achieved_goal, desired_goal, info), 1.0, dtype=np.float64)

    def compute_terminated(
        self, achieved_goal: ArrayLike, desired_goal: ArrayLike, info: Any
    ) -> NDArray[np.bool_]:
        """``[...]``: whether the goals ``[..., 2]`` are the same cell."""
        del info
        apart = np.abs(np.asarray(achieved_goal, np.float64) - np.asarray(desired_goal, np.float64))
        return np.less(apart.max(axis=-1), 1.0 / (self.size - 1))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start somewhere, with a goal that is far away."""
        super().reset(seed=seed, options=options)
        self._t = 0
        while True:
            self._cell, self._goal = self.np_random.integers(self.size, size=(2, 2))
            if np.abs(self._cell - self._goal).sum() >= self.size - 1:
                return self._observe(), {"is_success": False}

    def step(self, action: np.int64) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Move one cell, if there is one."""
        moves = np.asarray([[0, 1], [0, -1], [1, 0], [-1, 0]])
        self._cell = np.clip(self._cell + moves[int(action)], 0, self.size - 1)
        self._t += 1
        seen = self._observe()
        goals = seen["achieved_goal"], seen["desired_goal"]
        reached = bool(self.compute_terminated(*goals, {}))
        truncated = not reached and self._t >= self.length
        return seen, float(self.compute_reward(*goals, {})), reached, truncated, {"is_success": reached}

    def _observe(self) -> Observation:
        cell, goal = (
            (2.0 * position / (self.size - 1) - 1.0).astype(np.float32)
            for position in (self._cell, self._goal)
        )
        return {"observation": cell, "achieved_goal": cell.copy(), "desired_goal": goal}
