"""Hindsight experience replay (Andrychowicz et al. 2017, arXiv:1707.01495) with goals put in at the draw.

What is stored is what happened, once. A share ``k / (k + 1)`` of every batch is then drawn as if a goal that was
reached later had been asked for: k relabelled rows for each that stays as it was, as in the paper, but nothing is
stored twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from optix_core.errors import ConfigError, SpaceError
from optix_core.replay.batch import Batch, NStepTargets, n_step_targets
from optix_core.replay.episodes import EpisodeIndex
from optix_core.replay.goals import GoalFunction, PerPair
from optix_core.replay.prioritized import PrioritizedReplay
from optix_core.replay.ring import ReplayBuffer
from optix_core.replay.rows import TERMINATED
from optix_core.state import State

Strategy = Literal["future", "final", "episode"]
GOAL_FIELDS = ("observation", "achieved_goal", "desired_goal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Relabelled:
    """B rows as they were drawn.

    Attributes:
        observations: ``[B]`` records.
        actions: ``[B, *act]``.
        next_observations: ``[B]`` records, after the last step of each.
        targets: What was summed.
        indices: ``[B]`` rows.
    """

    observations: NDArray[Any]
    actions: NDArray[Any]
    next_observations: NDArray[Any]
    targets: NStepTargets
    indices: NDArray[np.int64]


class HindsightReplay:
    """Relabels what it draws from ``replay``, whose observations are records with :data:`GOAL_FIELDS`.

    The goal of a relabelled row is one that was achieved after a step of the same episode: ``future`` of this step or a
    later one, ``final`` of the last one, ``episode`` of any. Rewards along all n steps are recomputed for it, and
    terminations if the environment can tell; an episode that still goes on counts as far as it is stored. Truncated
    steps keep their successor's value.

    Args:
        replay: Uniform or prioritised; rows are added through this object or directly.
        compute_reward: ``f(achieved, desired, info)`` of the environment; see :func:`goal_functions`.
        compute_terminated: The same for terminations; None: a step that terminated keeps doing so, others don't.
        k: Relabelled rows per row that is not, at least 0.
        strategy: Where goals come from.

    Raises:
        ConfigError: ``k`` or ``strategy`` is not one of these.
    """

    def __init__(
        self,
        replay: ReplayBuffer,
        compute_reward: GoalFunction,
        compute_terminated: GoalFunction | None = None,
        *,
        k: float = 4,
        strategy: Strategy = "future",
    ) -> None:
        if strategy not in get_args(Strategy):
            raise ConfigError(f"strategy is {strategy!r}; it must be one of {', '.join(get_args(Strategy))}")
        if not 0 <= k < np.inf:
            raise ConfigError(f"k is {k}; it must be a number of at least 0")
        self.replay, self.k, self.strategy = replay, k, strategy
        self._reward = PerPair(compute_reward, "compute_reward")
        self._terminated = PerPair(compute_terminated, "compute_terminated") if compute_terminated else None
        self._episodes = EpisodeIndex(replay)

    def __len__(self) -> int:
        return len(self.replay)

    @property
    def capacity(self) -> int:
        """Rows in total."""
        return self.replay.capacity

    @property
    def nbytes(self) -> int:
        """Bytes of memory held."""
        return self.replay.nbytes + (8 * self.capacity if self.replay.n_envs else 0)

    def add(
        self,
        observations: NDArray[Any],
        actions: ArrayLike,
        rewards: ArrayLike,
        next_observations: NDArray[Any],
        terminated: ArrayLike,
        truncated: ArrayLike,
    ) -> None:
        """As :meth:`ReplayBuffer.add`.

        Raises:
            SpaceError: Observations are no records with :data:`GOAL_FIELDS`, or the two goals differ in shape.
        """
        if not len(self.replay):
            _check_fields(np.asarray(observations).dtype)
        self.replay.add(observations, actions, rewards, next_observations, terminated, truncated)

    def cut(self) -> None:
        """As :meth:`ReplayBuffer.cut`."""
        self.replay.cut()

    def clear(self) -> None:
        """Forget all rows."""
        self.replay.clear()
        self._episodes.forget()

    def judge_by(self, compute_reward: GoalFunction, compute_terminated: GoalFunction | None = None) -> None:
        """Ask these functions from now on, for all rows."""
        if compute_reward != self._reward.function:
            self._reward = PerPair(compute_reward, "compute_reward")
        if compute_terminated is None:
            self._terminated = None
        elif self._terminated is None or compute_terminated != self._terminated.function:
            self._terminated = PerPair(compute_terminated, "compute_terminated")

    def sample(
        self,
        batch_size: int,
        rng: np.random.Generator,
        *,
        n_step: int = 1,
        gamma: float = 0.99,
        beta: float = 0.4,
    ) -> Batch:
        """As :meth:`ReplayBuffer.sample`, with goals relabelled; ``beta`` counts if ``replay`` is prioritised."""
        drawn = self.draw(batch_size, rng, n_step=n_step, gamma=gamma)
        return Batch(
            observations=drawn.observations,
            actions=drawn.actions,
            rewards=drawn.targets.rewards,
            next_observations=drawn.next_observations,
            discounts=drawn.targets.discounts,
            weights=(
                self.replay.weights(drawn.indices, beta)
                if isinstance(self.replay, PrioritizedReplay)
                else np.ones(batch_size, np.float32)
            ),
            indices=drawn.indices,
        )

    def draw(
        self, batch_size: int, rng: np.random.Generator, *, n_step: int = 1, gamma: float = 0.99
    ) -> Relabelled:
        """As :meth:`sample`, in the parts that a batch is made of."""
        replay = self.replay
        indices = replay.draw(batch_size, rng)
        at, stops = replay.path(indices, n_step)
        ended = (replay.column("flags")[at] & TERMINATED).astype(np.bool_)
        rewards = replay.column("reward")[at].astype(np.float64)
        changed = np.flatnonzero(rng.random(batch_size) < self.k / (self.k + 1))
        goals = replay.column("next_observation")["achieved_goal"][self._goal_rows(indices[changed], rng)]
        if len(changed):
            self._relabel(changed, goals, at, stops, ended, rewards)
        targets = n_step_targets(rewards, ended, stops, gamma)
        seen, acted = replay.fields_of(indices, "observation", "action")
        (after,) = replay.fields_of(at[np.arange(len(at)), targets.steps - 1], "next_observation")
        seen["desired_goal"][changed] = after["desired_goal"][changed] = goals
        return Relabelled(
            observations=seen, actions=acted, next_observations=after, targets=targets, indices=indices
        )

    def update_priorities(self, indices: NDArray[np.int64], priorities: ArrayLike) -> None:
        """As :meth:`PrioritizedReplay.update_priorities`.

        Raises:
            ConfigError: The replay below draws uniformly.
        """
        if not isinstance(self.replay, PrioritizedReplay):
            raise ConfigError(
                "this replay draws uniformly and keeps no priorities; build it on PrioritizedReplay"
            )
        self.replay.update_priorities(indices, priorities)

    def state_dict(self) -> State:
        """The rows; goals are made at the draw and leave nothing to keep."""
        return self.replay.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`.

        Raises:
            ValueError: As for :meth:`ReplayBuffer.load_state_dict`.
        """
        self.replay.load_state_dict(state)
        self._episodes.forget()

    def _goal_rows(self, indices: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """A row of the same episode for each; what was achieved after it becomes the goal."""
        before, after = self._episodes.bounds(indices)
        if self.strategy == "final":
            offset = after
        elif self.strategy == "future":
            offset = rng.integers(after + 1)
        else:
            offset = rng.integers(-before, after + 1)
        return (indices + offset * self.replay.n_envs) % self.capacity

    def _relabel(
        self,
        changed: NDArray[np.int64],
        goals: NDArray[Any],
        at: NDArray[np.int64],
        stops: NDArray[np.bool_],
        ended: NDArray[np.bool_],
        rewards: NDArray[np.float64],
    ) -> None:
        """Rewards, and terminations if the environment can tell, of rows ``changed`` of ``[B, n]`` arrays, in place."""
        behind = np.zeros(
            (len(changed), at.shape[1]), np.bool_
        )  # steps behind a stop are no part of the path
        behind[:, 1:] = np.logical_or.accumulate(stops[changed, :-1], axis=1)
        which, when = np.nonzero(~behind)
        records = self.replay.column("next_observation")
        achieved = records["achieved_goal"][at[changed[which], when]]
        desired = goals.astype(records.dtype["desired_goal"].base)[which]
        rewards[changed[which], when] = self._reward(achieved, desired)
        if self._terminated is not None:
            ended[changed[which], when] = self._terminated(achieved, desired) != 0.0


def _check_fields(dtype: np.dtype[Any]) -> None:
    names = dtype.names or ()
    missing = [name for name in GOAL_FIELDS if name not in names]
    if missing:
        raise SpaceError(
            f"hindsight replay needs a Dict observation space with {', '.join(GOAL_FIELDS)}; {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing. Use a goal environment, or the agent without hindsight"
        )
    if dtype["achieved_goal"].shape != dtype["desired_goal"].shape:
        raise SpaceError(
            f"achieved_goal has shape {dtype['achieved_goal'].shape} and desired_goal {dtype['desired_goal'].shape}; "
            "what was achieved can only become a goal if both have the same"
        )
