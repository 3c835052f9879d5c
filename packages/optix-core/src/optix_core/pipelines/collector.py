"""How a window is collected: exactly T steps of N environments, written straight into time-major arrays.

Shared by all pipelines that step environments themselves. Everything that must survive a window border lives here
and is committed only when a window is complete, so that a state taken at any moment is that of the last border.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.errors import ResumeError
from optix_core.pipelines.actor import Actor, masks_unused
from optix_core.pipelines.episode_log import EpisodeLog
from optix_core.pipelines.faults import Fault, FaultPolicy
from optix_core.pipelines.observation_check import ObservationCheck
from optix_core.pipelines.reading import ObservationReader
from optix_core.pipelines.stepper import Ended, Stepper
from optix_core.pipelines.window import Transition, Window
from optix_core.rl.masking import OBSERVATION
from optix_core.rl.structured import ObservationMismatch, from_state, to_state
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
        self._check = ObservationCheck(stepper.observation_space, strict=strict)
        self._current: NDArray[Any] = np.empty(0)  # [N, *obs] once started
        self._memory: NDArray[np.float32] | None = None
        self._masks = False
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
        lost = self._collecting or self.stepper.moved  # not where the last border was
        if not self._started or lost or not self._goes_on(actor):
            self._begin(actor)
        self._collecting = True
        actor.where = self._where
        window = Window.begin(steps, self._current, self._returns, self._lengths, self._pending, self._memory)
        self._fill(window, actor)
        seen = window.observations[:steps]
        outside = self._check(seen[OBSERVATION] if self._masks else seen, self.window_index)
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

    def _goes_on(self, actor: Actor) -> bool:
        """Whether ``actor`` can act in the running episodes: it needs the masks and the memory that they have."""
        size = 0 if self._memory is None else self._memory.shape[1]
        needs_masks = actor.accepts_masks and self.stepper.offers_masks
        return size == actor.memory_size and self._masks == needs_masks

    def _begin(self, actor: Actor) -> None:
        n_envs = self.stepper.n_envs
        begin = self.stepper.restart_all if self._started else self.stepper.start
        self._current = begin(masks=actor.accepts_masks)
        self._masks = self.stepper.reader.masked
        if self.stepper.offers_masks and not self._masks:
            warnings.warn(masks_unused(actor.name), RuntimeWarning, stacklevel=4)
        self._memory = np.zeros((n_envs, actor.memory_size), np.float32) if actor.memory_size else None
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
        row, memory = observations[0], window.memory
        for t in range(len(rewards)):
            self._t = t
            if memory is None:
                policy_actions, acted, env_actions = actor(row)
            else:
                (policy_actions, acted, env_actions), memory[t + 1] = actor.remembering(row, memory[t])
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
            row = window.observations[t, n : n + 1]
            if window.memory is None:
                policy_actions, acted, env_actions = actor(row)
            else:
                (policy_actions, acted, env_actions), window.memory[t + 1, n : n + 1] = actor.remembering(
                    row, window.memory[t, n : n + 1]
                )
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
        self._memory = None if window.memory is None else window.memory[steps].copy()
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
            "masks": self._masks,
            "memory": None if self._memory is None else self._memory.copy(),
            "pending": None,
            "envs": {},
        }
        if self._pending is not None:
            p = self._pending
            state["pending"] = {name: to_state(getattr(p, name)) for name in Transition.__slots__}
        if self._started:
            for n in range(self.stepper.n_envs):
                state["envs"][str(n)] = {
                    **self._marks[n],
                    # Inside a window the environment has moved on; its episode can still be repeated up to the border.
                    "env_state": None
                    if self._collecting or self.stepper.moved
                    else self.stepper.env_state(n),
                    "observation": to_state(self._current[n, ...]),
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
        snapshots = [state["envs"][str(n)] for n in range(n_envs)] if state["started"] else []
        masks, memory = bool(state.get("masks", False)), state.get("memory")
        pending: Transition | None = None
        current = self._current
        if snapshots:
            space, actions = self.stepper.observation_space, self.stepper.action_space
            reader = ObservationReader(space, actions, masked=masks)
            pending = _transition(state["pending"], reader.dtype)
            current = self.stepper.restore(snapshots, to_env, masked=masks)
        self.policy.load_state_dict(state["faults"])
        self._check.count = int(state["observations_outside_space"])
        self.window_index, self.total_steps = int(state["window_index"]), int(state["total_steps"])
        self._started, self._collecting = bool(state["started"]), False
        self._current, self._pending = current, pending
        self._masks = masks
        self._memory = None if memory is None else np.array(memory, np.float32)
        self.policy.steps = self.total_steps
        self._returns, self._lengths, self._log = [0.0] * n_envs, [0] * n_envs, EpisodeLog(n_envs)
        self._marks = [self.stepper.mark(n) for n in range(n_envs)] if snapshots else []
        if self.stepper.resume_level != "exact":
            self._pending = None  # new episodes have begun
            self._memory = None if self._memory is None else np.zeros_like(self._memory)
            return
        for n, snapshot in enumerate(snapshots):
            self._returns[n], self._lengths[n] = float(snapshot["return"]), int(snapshot["length"])
            if snapshot["actions"] is None:
                self._log.give_up(n)
            else:
                self._log.extend(n, np.asarray(snapshot["actions"]))


def _transition(stored: Mapping[str, Any] | None, dtype: np.dtype[Any]) -> Transition | None:
    if stored is None:
        return None
    try:
        seen = {name: from_state(stored[name], dtype) for name in ("observations", "next_observations")}
    except ObservationMismatch as fault:
        raise ResumeError(f"{fault}. Resume with the environment that was trained on.") from None
    return Transition(
        **{**{name: np.array(stored[name]) for name in Transition.__slots__ if name not in seen}, **seen}
    )
