"""How a live window is put together, and where its episodes are cut.

The item behind observation ``t`` brings the reward and the end, if it is one, of the action chosen for ``t``, and the
observation ``t + 1``. A transition exists only if these two items are neighbours and the action between them was sent;
otherwise the episode is cut before it (truncated), and the later item begins a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.pipelines.actor import Actor
from optix_core.pipelines.live.boundaries import EveryNSteps
from optix_core.pipelines.live.buffer import Exhausted, ItemBuffer
from optix_core.pipelines.live.exchange import Exchange
from optix_core.pipelines.live.options import LiveOptions
from optix_core.pipelines.live.reading import Observed
from optix_core.pipelines.stepper import Ended
from optix_core.pipelines.window import Transition, Window, flattened
from optix_core.rl.spaces import SpaceInfo
from optix_core.types import EpisodeData

UNKNOWN_LENGTH = 64
"""Steps to make room for where a window does not say how long it will be; doubled as needed."""


class LiveCollector:
    """Collects windows from an exchange with the source; owns what is carried from one to the next.

    Args:
        buffer: Where items come from.
        send: Hands an action to the source; None if it wants none.
        observation_space: If known.
        action_space: If known.
        options: See :class:`~optix_core.pipelines.live.options.LiveOptions`.
        stop_requested: Looked at while waiting.

    Attributes:
        window_index: Windows so far.
        total_steps: Steps so far.
        exchange: With the source.
    """

    def __init__(
        self,
        buffer: ItemBuffer,
        send: Callable[[Any, int], None] | None,
        observation_space: SpaceInfo | None,
        action_space: SpaceInfo | None,
        options: LiveOptions,
        stop_requested: Callable[[], bool],
    ) -> None:
        self._options = options
        self.exchange = Exchange(
            buffer,
            send,
            observation_space,
            action_space,
            options,
            stop_requested,
            lambda: self.total_steps,
        )
        self.window_index = self.total_steps = 0
        self._current: NDArray[Any] | None = None  # [1, *obs]: what the next action will be for
        self._memory: NDArray[np.float32] | None = None
        self._return, self._length = 0.0, 0
        self._seed: int | None = None
        self._pending: Transition | None = None
        self._collecting = False

    # ---------------------------------------------------------------- windows

    def collect(self, actor: Actor, limit: int | None) -> EpisodeData | None:
        """The next window, flat; None if the source has ended or a stop was requested before it held a step.

        Raises:
            StreamError: The source failed for good, fell silent, or delivers too much that cannot be used.
        """
        if self._collecting or not self._goes_on(actor):
            self._forget(actor)
        self._collecting = True
        options, t = self._options, 0
        try:
            if self._current is None:
                self._current = self._begin_episode(self.exchange.first())[None]
                self._memory = np.zeros((1, actor.memory_size), np.float32) if actor.memory_size else None
        except Exhausted:
            _tell(actor, self._pending)
            self._pending = None
            self._collecting = False
            return None
        known = options.boundary.n if isinstance(options.boundary, EveryNSteps) else UNKNOWN_LENGTH
        window = Window.begin(
            min(known, limit or known),
            self._current,
            [self._return],
            [self._length],
            self._pending,
            self._memory,
        )
        latencies: list[float] = []
        started = options.clock()
        goes_on = True  # the row behind the last step is what the next action is for
        over = False
        actor.where = lambda: f"step {t} of window {self.window_index}"
        while not over:
            self._make_room(window, t)
            latency = self._act(window, t, actor)
            came = None
            try:
                came = self.exchange.following(partial=options.allow_partial and t > 0)
                if came is None or came.cut:
                    self._cut(window, t, reconnected=came is not None and came.reconnected)
                if came is not None and came.cut:
                    window.observations[t, 0] = self._begin_episode(self.exchange.first(came))
                    continue
            except Exhausted:
                came, self.exchange.lost = None, True
                _tell(actor, window.pending)
                window.pending = None
            if came is None:
                goes_on = False
                break
            ended = self._book(window, t, came.seen)
            latencies.append(latency)
            if actor.observe is not None:
                told, window.pending = window.pending, window.transition(t)
                _tell(actor, told)
            t += 1
            last = came.seen.observation
            over = (ended is not None and options.end_on_done) or t == limit
            over = bool(options.boundary(t, options.clock() - started, last)) or over
            real_end = came.seen.terminated or came.seen.truncated
            if real_end and over:
                goes_on = False
            elif real_end:
                try:
                    self._make_room(window, t)
                    window.observations[t, 0] = self._begin_episode(self.exchange.first())
                except Exhausted:
                    goes_on, over = False, True
                    _tell(actor, window.pending)
                    window.pending = None
        self._collecting = False
        if t == 0:
            self._current, self._pending = None, None
            return None
        window.resize(t)
        self._commit(window, t, goes_on=goes_on)
        facts = {"live": self._latency_facts(latencies)}
        return flattened(window.as_data(self.window_index - 1, facts))

    def _act(self, window: Window, t: int, actor: Actor) -> float:
        """Choose and send the action of step ``t``; returns the seconds since its observation came."""
        row = window.observations[t]
        if window.memory is None:
            policy_actions, acted, env_actions = actor(row)
        else:
            (policy_actions, acted, env_actions), window.memory[t + 1] = actor.remembering(
                row, window.memory[t]
            )
        window.put_actions(t, policy_actions, acted)
        return self.exchange.answer(env_actions[0])

    def _begin_episode(self, seen: Observed) -> NDArray[Any]:
        """The observation with which an episode begins."""
        seed = seen.info.get("seed")
        self._seed = int(seed) if isinstance(seed, int) else None
        return seen.observation

    def _book(self, window: Window, t: int, seen: Observed) -> Ended | None:
        """Write down what the action of step ``t`` brought."""
        window.observations[t + 1, 0] = seen.observation
        window.rewards[t, 0] = seen.reward
        if self._options.keep_infos:
            window.infos.append(dict(seen.info))
        limit = self._options.max_episode_steps
        length = window.running(0, t + 1)[1]
        too_long = limit is not None and length >= limit and not seen.terminated
        if not (seen.terminated or seen.truncated or too_long):
            return None
        ended = Ended(
            env_index=0,
            final_observation=seen.observation.copy(),
            terminated=seen.terminated,
            truncated=seen.truncated or too_long,
            seed=self._seed,
        )
        window.end_episode(t, ended)
        self._seed = None
        return ended

    def _cut(self, window: Window, t: int, *, reconnected: bool) -> None:
        """The action of step ``t`` has no known outcome: end its episode before it."""
        self.exchange.tallies["gaps"] += 1
        window.cut(0, t)
        if reconnected and not self._options.bootstrap_on_reconnect:
            if t > 0 and window.truncated[t - 1, 0]:
                window.terminated[t - 1, 0], window.truncated[t - 1, 0] = True, False
            if window.pending is not None and window.pending.truncated[0]:
                window.pending.terminated[0], window.pending.truncated[0] = True, False
        window.new_episode(0, t)

    def _make_room(self, window: Window, t: int) -> None:
        if t >= len(window.rewards):
            window.resize(2 * len(window.rewards))
            window.starts[t, 0] = window.begun[0] == t and 0 in window.fresh

    def _commit(self, window: Window, t: int, *, goes_on: bool) -> None:
        self._return, self._length = window.running(0, t) if goes_on else (0.0, 0)
        self._current = window.observations[t].copy() if goes_on else None
        self._memory = None if window.memory is None else window.memory[t].copy()
        self._pending = None if window.pending is None else window.pending.copied()
        self.window_index += 1
        self.total_steps += t

    def _goes_on(self, actor: Actor) -> bool:
        size = 0 if self._memory is None else self._memory.shape[1]
        return self.exchange.reads(masks=actor.accepts_masks) and (
            self._current is None or size == actor.memory_size
        )

    def _forget(self, actor: Actor) -> None:
        """Begin with a new episode: a window was interrupted, or another kind of agent acts."""
        self.exchange.lost = self.exchange.lost or self._current is not None
        self._current = self._memory = self._pending = None
        self._return, self._length = 0.0, 0
        self.exchange.read_for(masks=actor.accepts_masks)

    def _latency_facts(self, latencies: list[float]) -> dict[str, Any]:
        bound = self._options.max_latency
        return {
            "latency_mean": float(np.mean(latencies)),
            "latency_max": max(latencies),
            "stale_steps": [] if bound is None else [t for t, s in enumerate(latencies) if s > bound],
        }

    # ---------------------------------------------------------------- state

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue counting; the next item begins a new episode."""
        self.window_index, self.total_steps = int(state["window_index"]), int(state["total_steps"])
        self.exchange.load(state["tallies"], state["last_number"])


def _tell(actor: Actor, told: Transition | None) -> None:
    if told is not None and actor.observe is not None:
        actor.observe(
            told.observations,
            told.actions,
            told.rewards,
            told.next_observations,
            told.terminated,
            told.truncated,
        )
