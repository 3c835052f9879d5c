"""Hindsight replay for code that stores whole episodes of flat observations and reads batches as tuples."""

from __future__ import annotations

from typing import get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from optix_core.errors import ConfigError
from optix_core.replay.buffers import PrioritizedReplayBuffer, Sample
from optix_core.replay.goals import GoalFunction
from optix_core.replay.her import HindsightReplay, Strategy


class HERReplayBuffer:
    """Episodes whose observations end with the goal that was asked for; a draw may put another goal there.

    Goals are put in when rows are drawn, as :class:`~optix_core.replay.her.HindsightReplay` does: of every batch a
    share ``k / (k + 1)`` is relabelled, through all ``n_step`` steps, and an episode of T steps takes T rows.

    Args:
        inner: Keeps the rows; nothing else may be pushed to it.
        k: Relabelled transitions per one that is not, at least 0.
        strategy: ``future``, ``final`` or ``episode``.

    Raises:
        ConfigError: ``k`` or ``strategy`` is not one of these (a ValueError).
    """

    def __init__(self, inner: PrioritizedReplayBuffer, k: float = 4, strategy: str = "future") -> None:
        self.inner = inner
        for known in get_args(Strategy):
            if strategy == known:
                self._hindsight = HindsightReplay(inner.replay, _no_reward, k=k, strategy=known)
                break
        else:
            raise ConfigError(f"strategy is {strategy!r}; it must be one of {', '.join(get_args(Strategy))}")

    def __len__(self) -> int:
        return len(self.inner)

    def store_episode(
        self,
        obs: ArrayLike,
        acts: ArrayLike,
        rews: ArrayLike,
        next_obs: ArrayLike,
        dones: ArrayLike,
        achieved_goals: ArrayLike,
        compute_reward: GoalFunction,
        *,
        compute_terminated: GoalFunction | None = None,
    ) -> None:
        """Keep one episode of T steps. If its last step is not done, it was cut there and its tail has a value.

        Args:
            obs: ``[T, D + G]``: what was seen, then the goal asked for.
            acts: ``[T, *act]``.
            rews: ``[T]``.
            next_obs: ``[T, D + G]`` what followed each step.
            dones: ``[T]`` bool, a terminal state was reached.
            achieved_goals: ``[T, G]`` what was achieved after each step.
            compute_reward: ``f(achieved, desired, info)``, for one pair or for many. All rows are judged by the
                function given last.
            compute_terminated: The same for terminations; None: they stay as they are.

        Raises:
            ValueError: Shapes do not agree; nothing is kept then.
        """
        seen, after, achieved = (np.asarray(x) for x in (obs, next_obs, achieved_goals))
        acted, gained, over = np.asarray(acts), np.asarray(rews), np.asarray(dones).astype(np.bool_)
        t = len(gained)
        if (
            seen.ndim != 2
            or achieved.ndim != 2
            or after.shape != seen.shape
            or seen.shape[1] <= achieved.shape[1]
            or not t == len(seen) == len(achieved) == len(acted)
            or not (t,) == gained.shape == over.shape
        ):
            raise ValueError(
                "expected obs and next_obs [T, D + G], achieved_goals [T, G] and T actions, rewards and dones; got "
                f"{seen.shape}, {after.shape}, {achieved.shape}, {acted.shape}, {gained.shape}, {over.shape}"
            )
        self._hindsight.judge_by(compute_reward, compute_terminated)
        # What was achieved before the first step is not known; nothing asks for it, goals come from what follows.
        before = np.concatenate([np.zeros_like(achieved[:1]), achieved[:-1]])
        first, second = _records(seen, before), _records(after, achieved)
        no = np.zeros(1, np.bool_)
        self.inner.replay.cut()
        for i in range(t):
            row = slice(i, i + 1)
            self._hindsight.add(first[row], acted[row], gained[row], second[row], over[row], no)
        self.inner.replay.cut()

    def sample(self, batch_size: int) -> Sample:
        """As :meth:`PrioritizedReplayBuffer.sample`; observations end with the goal of the draw."""
        inner = self.inner
        drawn = self._hindsight.draw(batch_size, inner.rng, n_step=inner.n_step, gamma=inner.gamma)
        return inner.as_tuple(
            _flat(drawn.observations),
            drawn.actions,
            drawn.targets,
            _flat(drawn.next_observations),
            drawn.indices,
        )

    def update_priorities(self, indices: NDArray[np.int64], td_errors: ArrayLike) -> None:
        """As :meth:`PrioritizedReplayBuffer.update_priorities`."""
        self.inner.update_priorities(indices, td_errors)


class HERBuffer(HERReplayBuffer):
    """A :class:`HERReplayBuffer` that makes its own rows.

    Args:
        obs_dim: D, numbers in an observation without its goal.
        act_dim: Numbers in an action; plain integers for discrete actions are accepted too.
        goal_dim: G, numbers in a goal.
        strategy: ``future``, ``final`` or ``episode``.
        k: Relabelled transitions per one that is not.
        capacity: Transitions kept.
        inner: Rows with other settings than the defaults; ``capacity`` is not used then.
    """

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        goal_dim: int,
        strategy: str = "future",
        k: float = 4,
        *,
        capacity: int = 1_000_000,
        inner: PrioritizedReplayBuffer | None = None,
    ) -> None:
        super().__init__(PrioritizedReplayBuffer(capacity) if inner is None else inner, k, strategy)
        self.obs_dim, self.act_dim, self.goal_dim = obs_dim, act_dim, goal_dim

    def store_episode(
        self,
        obs: ArrayLike,
        acts: ArrayLike,
        rews: ArrayLike,
        next_obs: ArrayLike,
        dones: ArrayLike,
        achieved_goals: ArrayLike,
        compute_reward: GoalFunction,
        *,
        compute_terminated: GoalFunction | None = None,
    ) -> None:
        """As :meth:`HERReplayBuffer.store_episode`.

        Raises:
            ValueError: Also if widths are not those the buffer was made for.
        """
        widths = [np.shape(x)[1:] for x in (obs, achieved_goals, acts)]
        expected = [(self.obs_dim + self.goal_dim,), (self.goal_dim,), (self.act_dim,)]
        if widths[:2] != expected[:2] or widths[2] not in {expected[2], ()}:
            raise ValueError(
                f"this buffer was made for obs [T, {self.obs_dim} + {self.goal_dim}], goals [T, {self.goal_dim}] and "
                f"actions [T, {self.act_dim}] or [T]; got widths {widths}"
            )
        super().store_episode(
            obs,
            acts,
            rews,
            next_obs,
            dones,
            achieved_goals,
            compute_reward,
            compute_terminated=compute_terminated,
        )


def _records(flat: NDArray[np.generic], achieved: NDArray[np.generic]) -> NDArray[np.void]:
    width = achieved.shape[1]
    records = np.zeros(
        len(flat),
        np.dtype(
            [
                ("observation", flat.dtype, (flat.shape[1] - width,)),
                ("achieved_goal", achieved.dtype, (width,)),
                ("desired_goal", flat.dtype, (width,)),
            ],
            align=True,
        ),
    )
    records["observation"], records["desired_goal"] = flat[:, :-width], flat[:, -width:]
    records["achieved_goal"] = achieved
    return records


def _flat(records: NDArray[np.void]) -> NDArray[np.float32]:
    return np.concatenate([records["observation"], records["desired_goal"]], axis=1, dtype=np.float32)


def _no_reward(achieved: object, desired: object, info: object) -> float:
    del achieved, desired, info
    raise ValueError("the replay buffer is empty: store_episode() before drawing from it")
