"""How a window is collected: exactly T steps of N environments, written straight into time-major arrays.

Shared by all pipelines that step environments themselves. Everything that must survive a window border lives here
and is committed only when a window is complete, so that a state taken at any moment is that of the last border.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from optix_core.errors import ResumeError
from optix_core.pipelines.actor import Actor
from optix_core.pipelines.episode_log import EpisodeLog
from optix_core.pipelines.faults import Fault, FaultPolicy
from optix_core.pipelines.observation_check import ObservationCheck
from optix_core.pipelines.stepper import Ended, Stepper
from optix_core.pipelines.window import Transition, Window
from optix_core.state import State
from optix_core.types import EpisodeData


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
        self._pending: Transition | None = None
        self._marks: list[State] = []
        self._started = self._collecting = False
        self._t = 0

    def collect(self, steps: int, actor: Actor) -> EpisodeData:
        """The next window, time-major ``[steps, N, ...]``.

        Raises:
            EnvironmentFault: An environment broke its contract and the policy does not tolerate it.
            NumericalDivergence: The agent gave a non-finite action.
        """
        if (
            not self._started or self._collecting or self.stepper.moved
        ):  # new, or not where the last border was
            self._begin()
        self._collecting = True
        window = Window.begin(steps, self._current, self._returns, self._lengths, self._pending)
        self._fill(window, actor)
        outside = self._check(window.observations[:steps], self.window_index)
        if outside is not None:
            warnings.warn(outside, RuntimeWarning, stacklevel=3)
        faults = {
            "env_faults": dict(self.policy.counts),
            "observations_outside_space": self._check.count,
        }
        data = window.as_data(self.window_index, faults)
        self._commit(window)
        self._collecting = False
        return data

    def _begin(self) -> None:
        n_envs = self.stepper.n_envs
        if self._started:
            self.stepper.restart_all(self._current)
        else:
            self.stepper.start(self._current)
        self.stepper.moved = False
        self._returns, self._lengths = [0.0] * n_envs, [0] * n_envs
        self._log, self._pending = EpisodeLog(n_envs), None
        self._marks = [self.stepper.mark(n) for n in range(n_envs)]
        self._started = True

    def _fill(self, window: Window, actor: Actor) -> None:
        n_envs = self.stepper.n_envs
        observations, rewards = window.observations, window.rewards
        reward_row = [0.0] * n_envs
        step, where = self.stepper.step, self._where
        observe, lagging, keep_infos = actor.observe, self.policy.recovers, self._keep_infos
        row = observations[0]
        for t in range(len(rewards)):
            self._t = t
            policy_actions, acted, env_actions = actor(row)
            window.put_actions(t, policy_actions, acted)
            following = observations[t + 1]
            events = step(acted, env_actions, following, reward_row, where)
            if events is not None:
                self._handle(events, t, window, actor, reward_row)
            rewards[t] = reward_row
            if observe is not None:
                told = window.transition(t)
                if lagging:
                    # Only the next step shows whether a fault cuts the episode here: tell this one then.
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
            if keep_infos:
                window.infos.extend(self.stepper.infos)
                self.stepper.infos = [{} for _ in range(n_envs)]
            row = following

    def _handle(
        self, events: list[Ended | Fault], t: int, window: Window, actor: Actor, reward_row: list[float]
    ) -> None:
        """Book episode ends, after recovering from faults."""
        for event in sorted(events, key=lambda e: e.env_index):
            ended = self._recover(event, t, window, actor, reward_row) if isinstance(event, Fault) else event
            if ended is not None:
                window.rewards[t, ended.env_index] = reward_row[ended.env_index]
                window.end_episode(t, ended)

    def _recover(
        self, fault: Fault, t: int, window: Window, actor: Actor, reward_row: list[float]
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
            window.cut(n, t)
            window.observations[t, n] = self.stepper.restart(n, rebuild=fault.kind == "error")
            window.new_episode(n, t)
            policy_actions, acted, env_actions = actor(window.observations[t, n : n + 1])
            window.actions[t, n], window.acted[t, n] = policy_actions[0], acted[0]
            event = self.stepper.step_one(
                n, env_actions[0], window.observations[t + 1], reward_row, self._where
            )
            if not isinstance(event, Fault):
                return event
            fault = event

    def _commit(self, window: Window) -> None:
        steps, n_envs = window.rewards.shape
        for n in range(n_envs):
            self._returns[n], self._lengths[n] = window.running(n, steps)
            if n in window.fresh:
                self._log.clear(n)
            self._log.extend(n, window.acted[window.begun[n] :, n])
        self._current = window.observations[steps].copy()
        self._pending = None if window.pending is None else window.pending.copied()
        self._marks = [self.stepper.mark(n) for n in range(n_envs)]
        self.window_index += 1
        self.total_steps += steps * n_envs
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
            state["pending"] = {name: getattr(p, name).copy() for name in Transition.__slots__}
        if self._started:
            for n in range(self.stepper.n_envs):
                state["envs"][str(n)] = {
                    **self._marks[n],
                    # Inside a window the environment has moved on; its episode can still be repeated up to the border.
                    "env_state": None
                    if self._collecting or self.stepper.moved
                    else self.stepper.env_state(n),
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
                f"the stored pipeline had {state['n_envs']} environment(s), this one has {n_envs}; resume with "
                "the same number"
            )
        current = np.zeros_like(self._current)
        snapshots = [state["envs"][str(n)] for n in range(n_envs)] if state["started"] else []
        pending = (
            None
            if state["pending"] is None
            else Transition(**{k: np.array(v) for k, v in state["pending"].items()})
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
