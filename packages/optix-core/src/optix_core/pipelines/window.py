"""The arrays of a window while it is being filled, and what is known about its episodes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.pipelines.stepper import Ended
from optix_core.rl.structured import empty
from optix_core.types import EpisodeData, EpisodeRecord


@dataclass(slots=True)
class Transition:
    """One vector step as ``observe`` is told it."""

    observations: NDArray[Any]
    actions: NDArray[Any]
    rewards: NDArray[np.float64]
    next_observations: NDArray[Any]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]

    def copied(self) -> Transition:
        """The same, sharing nothing with the window."""
        return Transition(
            self.observations.copy(),
            self.actions.copy(),
            self.rewards.copy(),
            self.next_observations.copy(),
            self.terminated.copy(),
            self.truncated.copy(),
        )


@dataclass(slots=True)
class Window:
    """A window being collected. All arrays are fresh, so that windows never share memory.

    Attributes:
        observations: ``[T + 1, N, *obs]``; the last row is where the next window begins.
        rewards: ``[T, N]``.
        terminated: ``[T, N]``.
        truncated: ``[T, N]``.
        starts: ``[T, N]``, where an episode begins.
        actions: ``[T, N, *act]`` policy actions, made when the first ones are known.
        acted: ``[T, N, *act]`` environment actions; the same array where the policy's are the environment's.
        successors: ``(t, n)`` to the true next observation of each step that ended an episode.
        records: Complete episodes so far.
        returns: Per environment, the running episode's rewards before this window.
        lengths: Per environment, the running episode's steps before this window.
        begun: Per environment, the time index at which the running episode began, or 0.
        fresh: Environments whose running episode began in this window.
        pending: The vector step that a stepwise learner has still to be told.
        memory: ``[T + 1, N, M]`` a recurrent agent's memory before each step, zeros where an episode starts; None for
            other agents.
        infos: Info dicts, time-major.
    """

    observations: NDArray[Any]
    rewards: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    starts: NDArray[np.bool_]
    actions: NDArray[Any]
    acted: NDArray[Any]
    returns: list[float]
    lengths: list[int]
    begun: list[int]
    pending: Transition | None
    memory: NDArray[np.float32] | None = None
    successors: dict[tuple[int, int], NDArray[Any]] = field(
        default_factory=dict[tuple[int, int], NDArray[Any]]
    )
    records: list[EpisodeRecord] = field(default_factory=list[EpisodeRecord])
    fresh: set[int] = field(default_factory=set[int])
    infos: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    @classmethod
    def begin(
        cls,
        steps: int,
        current: NDArray[Any],
        returns: list[float],
        lengths: list[int],
        pending: Transition | None,
        memory: NDArray[np.float32] | None = None,
    ) -> Window:
        """An empty window of ``steps`` steps that goes on from the observations ``current`` ``[N, *obs]``."""
        n_envs = len(current)
        observations = empty((steps + 1, *current.shape), current.dtype)
        observations[0] = current
        if memory is not None:
            carried = memory
            memory = np.empty((steps + 1, *carried.shape), np.float32)
            memory[0] = carried
        starts = np.zeros((steps, n_envs), np.bool_)
        starts[0] = [length == 0 for length in lengths]
        return cls(
            observations=observations,
            rewards=np.empty((steps, n_envs)),
            terminated=np.zeros((steps, n_envs), np.bool_),
            truncated=np.zeros((steps, n_envs), np.bool_),
            starts=starts,
            actions=np.empty(0),
            acted=np.empty(0),
            returns=list(returns),
            lengths=list(lengths),
            begun=[0] * n_envs,
            pending=pending,
            memory=memory,
        )

    def put_actions(self, t: int, policy_actions: NDArray[Any], acted: NDArray[Any]) -> None:
        """Write the actions of step ``t``."""
        if t == 0:
            steps = len(self.rewards)
            self.actions = np.empty((steps, *policy_actions.shape), policy_actions.dtype)
            same = acted is policy_actions
            self.acted = self.actions if same else np.empty((steps, *acted.shape), acted.dtype)
        self.actions[t] = policy_actions
        if self.acted is not self.actions:
            self.acted[t] = acted

    def resize(self, steps: int) -> None:
        """Make room for ``steps`` steps, or keep only so many; for sources that do not say how many there will be."""
        kept = min(steps, len(self.rewards))

        def sized(old: NDArray[Any], more: int = 0) -> NDArray[Any]:
            new = empty((steps + more, *old.shape[1:]), old.dtype)
            new[: kept + more] = old[: kept + more]
            new[kept + more :] = np.zeros((), old.dtype)
            return new

        same = self.acted is self.actions
        self.observations, self.rewards = sized(self.observations, 1), sized(self.rewards)
        self.terminated, self.truncated = sized(self.terminated), sized(self.truncated)
        self.starts = sized(self.starts)
        if self.actions.ndim > 1:
            self.actions = sized(self.actions)
            self.acted = self.actions if same else sized(self.acted)
        if self.memory is not None:
            self.memory = sized(self.memory, 1)

    def new_episode(self, n: int, t: int) -> None:
        """The next episode of environment ``n`` begins with row ``t`` (which may be that of the next window)."""
        self.returns[n], self.lengths[n], self.begun[n] = 0.0, 0, t
        self.fresh.add(n)
        if self.memory is not None:
            self.memory[t, n] = 0.0
        if t < len(self.starts):
            self.starts[t, n] = True

    def end_episode(self, t: int, ended: Ended) -> None:
        """Book the end of an episode with step ``t``, whose reward is already in its place."""
        n = ended.env_index
        self.terminated[t, n], self.truncated[t, n] = ended.terminated, ended.truncated
        self.successors[t, n] = ended.final_observation
        episode_return, length = self.running(n, t + 1)
        self.records.append(
            EpisodeRecord(
                env_index=n,
                step=t,
                episode_return=episode_return,
                length=length,
                terminated=ended.terminated,
                seed=ended.seed,
            )
        )
        self.new_episode(n, t + 1)

    def running(self, n: int, t: int) -> tuple[float, int]:
        """Return and length of environment ``n``'s running episode before step ``t``."""
        begun = self.begun[n]
        return self.returns[n] + float(self.rewards[begun:t, n].sum()), self.lengths[n] + t - begun

    def cut(self, n: int, t: int) -> None:
        """Mark the step before ``t`` as truncated, if it is in this window and its episode went on."""
        last = self.observations[t, n, ...].copy()
        # First what is still to be told: until it is copied, its arrays are views of the window.
        pending = self.pending
        if pending is not None and not pending.terminated[n] and not pending.truncated[n]:
            pending = self.pending = pending.copied()
            pending.truncated[n], pending.next_observations[n] = True, last
        if t > 0 and not self.terminated[t - 1, n] and not self.truncated[t - 1, n]:
            self.truncated[t - 1, n] = True
            self.successors[t - 1, n] = last

    def transition(self, t: int) -> Transition:
        """Vector step ``t``, with true successors; views where possible."""
        following = self.observations[t + 1]
        ended = [n for n in range(len(following)) if (t, n) in self.successors] if self.successors else []
        if ended:
            following = following.copy()
            for n in ended:
                following[n] = self.successors[t, n]
        return Transition(
            self.observations[t],
            self.actions[t],
            self.rewards[t],
            following,
            self.terminated[t],
            self.truncated[t],
        )

    def as_data(self, episode_id: int, metadata: dict[str, Any]) -> EpisodeData:
        """The finished window, time-major."""
        steps, n_envs = self.rewards.shape
        order = sorted(self.successors)
        final = self.observations[steps].copy()
        for n in range(n_envs):
            if (steps - 1, n) in self.successors:
                final[n] = self.successors[steps - 1, n]
        nothing = empty((0, *self.observations.shape[2:]), self.observations.dtype)
        return EpisodeData(
            observations=self.observations[:steps],
            actions=self.actions,
            rewards=self.rewards,
            terminated=self.terminated,
            truncated=self.truncated,
            infos=self.infos,
            episode_id=episode_id,
            metadata={"episode_records": True, "continues_episode": ~self.starts[0], **metadata},
            episode_starts=self.starts,
            final_obs=final,
            hidden_states=None if self.memory is None else self.memory[:steps],
            n_envs=n_envs,
            boundary_steps=np.array(order, dtype=np.int64).reshape(-1, 2),
            boundary_observations=np.stack([self.successors[key] for key in order]) if order else nothing,
            episodes=tuple(self.records),
        )


def flattened(data: EpisodeData) -> EpisodeData:
    """The single column of a time-major window; arrays are views."""
    starts: Any = data.episode_starts
    assert data.final_obs is not None
    data.metadata["continues_episode"] = bool(data.metadata["continues_episode"][0])
    return EpisodeData(
        observations=data.observations[:, 0],
        actions=data.actions[:, 0],
        rewards=data.rewards[:, 0],
        terminated=data.terminated[:, 0],
        truncated=data.truncated[:, 0],
        infos=data.infos,
        episode_id=data.episode_id,
        timestamp=data.timestamp,
        metadata=data.metadata,
        episode_starts=sorted({0, *starts[:, 0].nonzero()[0].tolist()}),
        final_obs=data.final_obs[0, ...],
        hidden_states=None if data.hidden_states is None else data.hidden_states[:, 0],
        boundary_steps=data.boundary_steps,
        boundary_observations=data.boundary_observations,
        episodes=data.episodes,
    )
