"""How a window is collected: exactly T steps of N environments, written straight into time-major arrays.

Shared by all pipelines that step environments themselves. Everything that must survive a window border lives here
and is committed only when a window is complete, so that a state taken at any moment is that of the last border.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.errors import ResumeError
from optix_core.pipelines.actor import Actor
from optix_core.pipelines.episode_log import EpisodeLog
from optix_core.pipelines.faults import Fault, FaultPolicy
from optix_core.pipelines.observation_check import ObservationCheck
from optix_core.pipelines.stepping import Ended, Stepper
from optix_core.state import State
from optix_core.types import EpisodeData, EpisodeRecord


@dataclass(slots=True)
class _Window:
    """The arrays of the window being collected; all fresh, so that windows never share memory."""

    observations: NDArray[Any]  # [T + 1, N, *obs]: the last row is where the next window begins
    rewards: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    starts: NDArray[np.bool_]
    actions: NDArray[Any]
    acted: NDArray[Any]
    successors: dict[
        tuple[int, int], NDArray[Any]
    ]  # true next observation of the steps that ended an episode
    records: list[EpisodeRecord]
    returns: list[float]  # of the running episodes, without the rewards of this window
    lengths: list[int]
    begun: list[int]  # time index at which each running episode began, or 0
    fresh: set[int]  # environments whose running episode began in this window
    pending: _Transition | None = None  # told with the next step, see WindowCollector._tell


@dataclass(slots=True)
class _Transition:
    """One vector step as ``observe`` is told it."""

    observations: NDArray[Any]
    actions: NDArray[Any]
    rewards: NDArray[np.float64]
    next_observations: NDArray[Any]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]

    def copied(self) -> _Transition:
        return _Transition(
            self.observations.copy(),
            self.actions.copy(),
            self.rewards.copy(),
            self.next_observations.copy(),
            self.terminated.copy(),
            self.truncated.copy(),
        )


class WindowCollector:
    """Collects windows from a stepper; owns what is carried from one to the next.

    Args:
        stepper: The environments.
        policy: What to do about faults.
        keep_infos: Keep every step's info dict in the window.
        strict: Raise if an observation lies outside its space (otherwise the first three warn, all are counted).
    """

    def __init__(
        self, stepper: Stepper, policy: FaultPolicy, *, keep_infos: bool = False, strict: bool = False
    ) -> None:
        self.stepper, self.policy = stepper, policy
        self.window_index = 0
        self.total_steps = 0
        self._keep_infos = keep_infos
        space = stepper.observation_space
        assert space.shape is not None
        assert space.dtype is not None
        self._row_shape = (stepper.n_envs, *space.shape)
        self._dtype = space.dtype
        self._check = ObservationCheck(space, strict=strict)
        self._current = np.zeros(self._row_shape, self._dtype)
        self._returns = [0.0] * stepper.n_envs
        self._lengths = [0] * stepper.n_envs
        self._log = EpisodeLog(stepper.n_envs)
        self._pending: _Transition | None = None
        self._marks: list[State] = []
        self._started = self._collecting = False
        self._t = 0

    def collect(self, steps: int, actor: Actor) -> EpisodeData:
        """The next window, time-major ``[steps, N, ...]``.

        Raises:
            EnvironmentFault: An environment broke its contract and the policy does not tolerate it.
            NumericalDivergence: The agent gave a non-finite action.
        """
        if not self._started or self._collecting:  # new, or the last window was interrupted half-way
            self._begin()
        self._collecting = True
        window = self._fill(steps, actor)
        data = self._as_data(window, steps)
        self._commit(window, steps)
        self._collecting = False
        return data

    def _begin(self) -> None:
        n_envs = self.stepper.n_envs
        if self._started:
            self.stepper.restart_all(self._current)
        else:
            self.stepper.start(self._current)
        self._returns, self._lengths = [0.0] * n_envs, [0] * n_envs
        self._log, self._pending = EpisodeLog(n_envs), None
        self._marks = [self.stepper.mark(n) for n in range(n_envs)]
        self._started = True

    def _fill(self, steps: int, actor: Actor) -> _Window:
        n_envs = self.stepper.n_envs
        observations = np.empty((steps + 1, *self._row_shape), self._dtype)
        observations[0] = self._current
        nothing = np.empty(0)
        window = _Window(
            observations=observations,
            rewards=np.empty((steps, n_envs)),
            terminated=np.zeros((steps, n_envs), np.bool_),
            truncated=np.zeros((steps, n_envs), np.bool_),
            starts=np.zeros((steps, n_envs), np.bool_),
            actions=nothing,
            acted=nothing,
            successors={},
            records=[],
            returns=list(self._returns),
            lengths=list(self._lengths),
            begun=[0] * n_envs,
            fresh=set(),
            pending=self._pending,
        )
        window.starts[0] = [length == 0 for length in self._lengths]
        rewards, reward_row = window.rewards, [0.0] * n_envs
        step, where = self.stepper.step, self._where
        observe, lagging = actor.observe, self.policy.recovers
        infos: list[dict[str, Any]] | None = [] if self._keep_infos else None
        row = observations[0]
        for t in range(steps):
            self._t = t
            policy_actions, acted, env_actions = actor(row)
            if t == 0:
                window.actions = np.empty((steps, *policy_actions.shape), policy_actions.dtype)
                same = acted is policy_actions
                window.acted = window.actions if same else np.empty((steps, *acted.shape), acted.dtype)
            window.actions[t] = policy_actions
            if window.acted is not window.actions:
                window.acted[t] = acted
            following = observations[t + 1]
            events = step(acted, env_actions, following, reward_row, where)
            if events is not None:
                self._handle(events, t, window, actor, reward_row)
            rewards[t] = reward_row
            if observe is not None:
                self._tell(observe, window, t, lagging=lagging, events=events is not None)
            if infos is not None:
                infos.extend(self.stepper.infos)
                self.stepper.infos = [{} for _ in range(n_envs)]
            row = following
        self._infos = infos or []
        return window

    def _handle(
        self, events: list[Ended | Fault], t: int, window: _Window, actor: Actor, reward_row: list[float]
    ) -> None:
        """Book episode ends, after recovering from faults."""
        for event in sorted(events, key=lambda e: e.env_index):
            final = self._recover(event, t, window, actor, reward_row) if isinstance(event, Fault) else event
            if final is None:
                continue
            n = final.env_index
            window.rewards[t, n] = reward_row[n]
            window.terminated[t, n], window.truncated[t, n] = final.terminated, final.truncated
            window.successors[t, n] = final.final_observation
            begun = window.begun[n]
            window.records.append(
                EpisodeRecord(
                    env_index=n,
                    step=t,
                    episode_return=window.returns[n] + float(window.rewards[begun : t + 1, n].sum()),
                    length=window.lengths[n] + t + 1 - begun,
                    terminated=final.terminated,
                    seed=final.seed,
                )
            )
            self._new_episode(window, n, t + 1)

    def _new_episode(self, window: _Window, n: int, t: int) -> None:
        window.returns[n], window.lengths[n], window.begun[n] = 0.0, 0, t
        window.fresh.add(n)
        if t < len(window.starts):
            window.starts[t, n] = True

    def _recover(
        self, fault: Fault, t: int, window: _Window, actor: Actor, reward_row: list[float]
    ) -> Ended | None:
        """Drop a faulty transition, cut its episode before it, and collect step ``t`` again in a new episode.

        Returns:
            What the repeated step did, if it ended the new episode.
        """
        n = fault.env_index
        in_a_row = 0
        while True:
            in_a_row += 1
            self.policy.steps = self.total_steps + t * self.stepper.n_envs
            self.policy.admit(fault, in_a_row=in_a_row, where=self._where())
            self._cut(window, n, t)
            window.observations[t, n] = self.stepper.restart(n, rebuild=fault.kind == "error")
            self._new_episode(window, n, t)
            policy_actions, acted, env_actions = actor(window.observations[t, n : n + 1])
            window.actions[t, n], window.acted[t, n] = policy_actions[0], acted[0]
            event = self.stepper.step_one(
                n, env_actions[0], window.observations[t + 1], reward_row, self._where
            )
            if not isinstance(event, Fault):
                return event
            fault = event

    def _cut(self, window: _Window, n: int, t: int) -> None:
        """Mark the step before ``t`` as truncated, if it is in this window and its episode went on."""
        last = window.observations[t, n].copy()
        # First what is still to be told: until it is copied, its arrays are views of the window.
        pending = window.pending
        if pending is not None and not pending.terminated[n] and not pending.truncated[n]:
            pending = window.pending = pending.copied()
            pending.truncated[n], pending.next_observations[n] = True, last
        if t > 0 and not window.terminated[t - 1, n] and not window.truncated[t - 1, n]:
            window.truncated[t - 1, n] = True
            window.successors[t - 1, n] = last

    def _tell(self, observe: Any, window: _Window, t: int, *, lagging: bool, events: bool) -> None:
        following = window.observations[t + 1]
        if events:
            following = following.copy()
            for n in range(self.stepper.n_envs):
                if (t, n) in window.successors:
                    following[n] = window.successors[t, n]
        told = _Transition(
            window.observations[t],
            window.actions[t],
            window.rewards[t],
            following,
            window.terminated[t],
            window.truncated[t],
        )
        if lagging:
            # Only the next step shows whether a fault cuts the episode here, so this one is told when that is known.
            told, window.pending = window.pending, told
        if told is not None:
            observe(
                told.observations,
                told.actions,
                told.rewards,
                told.next_observations,
                told.terminated,
                told.truncated,
            )

    def _as_data(self, window: _Window, steps: int) -> EpisodeData:
        final = window.observations[steps].copy()
        order = sorted(window.successors)
        for n in range(self.stepper.n_envs):
            if (steps - 1, n) in window.successors:
                final[n] = window.successors[steps - 1, n]
        observations = window.observations[:steps]
        outside = self._check(observations, self.window_index)
        if outside is not None:
            warnings.warn(outside, RuntimeWarning, stacklevel=4)
        metadata: dict[str, Any] = {
            "episode_records": True,
            "continues_episode": ~window.starts[0],
            "env_faults": dict(self.policy.counts),
            "observations_outside_space": self._check.count,
        }
        return EpisodeData(
            observations=observations,
            actions=window.actions,
            rewards=window.rewards,
            terminated=window.terminated,
            truncated=window.truncated,
            infos=self._infos,
            episode_id=self.window_index,
            metadata=metadata,
            episode_starts=window.starts,
            final_obs=final,
            n_envs=self.stepper.n_envs,
            boundary_steps=np.array(order, dtype=np.int64).reshape(-1, 2),
            boundary_observations=(
                np.stack([window.successors[key] for key in order])
                if order
                else np.empty((0, *self._row_shape[1:]), self._dtype)
            ),
            episodes=tuple(window.records),
        )

    def _commit(self, window: _Window, steps: int) -> None:
        for n in range(self.stepper.n_envs):
            begun = window.begun[n]
            self._returns[n] = window.returns[n] + float(window.rewards[begun:, n].sum())
            self._lengths[n] = window.lengths[n] + steps - begun
            if n in window.fresh:
                self._log.clear(n)
            self._log.extend(n, window.acted[begun:, n])
        self._current = window.observations[steps].copy()
        self._pending = None if window.pending is None else window.pending.copied()
        self._marks = [self.stepper.mark(n) for n in range(self.stepper.n_envs)]
        self.window_index += 1
        self.total_steps += steps * self.stepper.n_envs
        self.policy.steps = self.total_steps

    def _where(self) -> str:
        return f"step {self._t} of window {self.window_index}"

    def state_dict(self) -> State:
        """Where the last window border left everything, also when a window was interrupted since."""
        state: State = {
            "started": self._started,
            "window_index": self.window_index,
            "total_steps": self.total_steps,
            "n_envs": self.stepper.n_envs,
            "faults": self.policy.state_dict(),
            "observations_outside_space": self._check.count,
            "pending": None,
            "envs": {},
        }
        if self._pending is not None:
            p = self._pending
            state["pending"] = {name: getattr(p, name).copy() for name in _Transition.__slots__}
        if self._started:
            for n in range(self.stepper.n_envs):
                state["envs"][str(n)] = {
                    **self._marks[n],
                    # Inside a window the environment has moved on; its episode can still be repeated up to the border.
                    "env_state": None if self._collecting else self.stepper.env_state(n),
                    "observation": self._current[n].copy(),
                    "return": self._returns[n],
                    "length": self._lengths[n],
                    "actions": self._log.actions(n),
                }
        return state

    def load_state_dict(self, state: Mapping[str, Any], to_env: Callable[[Any], Any]) -> None:
        """Continue from a state; environments are brought back to where they were.

        Raises:
            ResumeError: Another number of environments, or an environment that does not repeat its episode.
        """
        n_envs = self.stepper.n_envs
        if int(state["n_envs"]) != n_envs:
            raise ResumeError(
                f"the stored pipeline had {state['n_envs']} environment(s), this one has {n_envs}; "
                f"resume with the same number"
            )
        current = np.zeros_like(self._current)
        snapshots = [state["envs"][str(n)] for n in range(n_envs)] if state["started"] else []
        pending = (
            None
            if state["pending"] is None
            else _Transition(**{k: np.array(v) for k, v in state["pending"].items()})
        )
        if snapshots:
            self.stepper.restore(snapshots, to_env, current)
        self.policy.load_state_dict(state["faults"])
        self._check.count = int(state["observations_outside_space"])
        self.window_index, self.total_steps = int(state["window_index"]), int(state["total_steps"])
        self._started, self._collecting = bool(state["started"]), False
        self._current, self._pending = current, pending
        self.policy.steps = self.total_steps
        self._returns, self._lengths, self._log = [0.0] * n_envs, [0] * n_envs, EpisodeLog(n_envs)
        self._marks = [self.stepper.mark(n) for n in range(n_envs)] if snapshots else []
        if self.stepper.resume_level != "exact":
            self._pending = None  # new episodes have begun
            return
        for n, snapshot in enumerate(snapshots):
            self._returns[n], self._lengths[n] = float(snapshot["return"]), int(snapshot["length"])
            if snapshot["actions"] is None:
                self._log.give_up(n)
            else:
                self._log.extend(n, np.asarray(snapshot["actions"]))
