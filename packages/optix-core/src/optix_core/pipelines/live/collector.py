"""How a live window is put together, and what becomes of an episode when the source misbehaves.

The item behind observation ``t`` brings the reward and the end, if it is one, of the action chosen for ``t``, and the
observation ``t + 1``. A transition exists only if these two items are neighbours and the action between them was sent;
otherwise the episode is cut before it (truncated), and the later item begins a new one.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.base_pipeline import EpisodeBoundaryFn
from optix_core.errors import MalformedItem, StreamError, StreamStalled
from optix_core.pipelines.actor import Actor
from optix_core.pipelines.live.boundaries import EveryNSteps
from optix_core.pipelines.live.buffer import Exhausted, ItemBuffer
from optix_core.pipelines.live.reading import ItemReader, Malformed, Observed
from optix_core.pipelines.live.source import Item
from optix_core.pipelines.stepper import Ended
from optix_core.pipelines.window import Transition, Window, flattened
from optix_core.rl.spaces import SpaceInfo
from optix_core.types import EpisodeData

TALLIES = ("gaps", "stalls", "sent", "send_errors", "stale", "mismatched")
POLL = 0.25
"""Seconds between two looks at whether a stop was requested."""
UNKNOWN_LENGTH = 64
"""Steps to make room for where a window does not say how long it will be; doubled as needed."""
SEND_FAILURES = 10
"""Actions in a row that ``send`` may refuse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveOptions:
    """Options of the pipeline that the collector needs; see there."""

    boundary: EpisodeBoundaryFn
    end_on_done: bool
    max_episode_steps: int | None
    stall_timeout: float
    max_stall: float | None
    allow_partial: bool
    on_stall: Callable[[float], None] | None
    bootstrap_on_reconnect: bool
    max_latency: float | None
    max_malformed: int
    max_malformed_share: float
    keep_infos: bool
    clock: Callable[[], float] = time.monotonic


@dataclass(slots=True)
class _Came:
    """An item that can be used. ``cut``: it is no neighbour of the observation before it."""

    seen: Observed
    cut: bool
    reconnected: bool


class LiveCollector:
    """Collects windows from a buffer; owns what is carried from one to the next.

    Args:
        buffer: Where items come from.
        send: Hands an action to the source; None if it wants none.
        observation_space: If known.
        action_space: If known.
        options: See :class:`LiveOptions`.
        stop_requested: Looked at while waiting.

    Attributes:
        window_index: Windows so far.
        total_steps: Steps so far.
        tallies: What is counted on this side of the buffer.
        last_number: ``seq`` of the newest item that was taken.
        stalled: Nothing has come for ``stall_timeout``.
        rejections: Newest malformed items, as (index, reason).
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
        self._buffer, self._send, self._options = buffer, send, options
        self._spaces = observation_space, action_space
        self._stop = stop_requested
        self.window_index = self.total_steps = 0
        self.tallies: dict[str, int] = dict.fromkeys(TALLIES, 0)
        self.last_number: int | None = None
        self.stalled = False
        self.rejections: deque[tuple[int, str]] = deque(maxlen=100)
        self._reader: ItemReader | None = None
        self._masks = False
        self._current: NDArray[Any] | None = None  # [1, *obs]: what the next action will be for
        self._memory: NDArray[np.float32] | None = None
        self._return, self._length = 0.0, 0
        self._seed: int | None = None
        self._pending: Transition | None = None
        self._item: Item | None = None  # the one that _current came with
        self._waiting_for: int | None = None  # id of the observation whose action was sent last
        self._lost = self._collecting = False
        self._bad_in_a_row = self._refused_in_a_row = 0

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
                self._current = self._first(None).observation[None]
                self._memory = np.zeros((1, actor.memory_size), np.float32) if actor.memory_size else None
        except Exhausted:
            self._tell_pending(actor, None)
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
                came = self._next(partial=options.allow_partial and t > 0)
                if came is None or came.cut:
                    self._cut(window, t, reconnected=came is not None and came.reconnected)
                if came is not None and came.cut:
                    window.observations[t, 0] = self._first(came).observation
                    continue
            except Exhausted:
                came, self._lost = None, True
                self._tell_pending(actor, window)
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
                    window.observations[t, 0] = self._first(None).observation
                except Exhausted:
                    goes_on, over = False, True
                    self._tell_pending(actor, window)
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
        item = self._item
        assert item is not None
        self._waiting_for = item.id
        if self._send is not None:
            try:
                self._send(env_actions[0], item.id)
            except Exception as error:  # noqa: BLE001 - counted, and raised when it happens too often
                self._refused(error)
            else:
                self.tallies["sent"] += 1
                self._refused_in_a_row = 0
        latency = self._options.clock() - item.arrived
        if self._options.max_latency is not None and latency > self._options.max_latency:
            self.tallies["stale"] += 1
        return latency

    def _refused(self, error: Exception) -> None:
        """An action did not reach the source, so that what follows is not its doing."""
        self.tallies["send_errors"] += 1
        self._refused_in_a_row += 1
        self._lost = True
        if self._refused_in_a_row > SEND_FAILURES:
            raise StreamError(
                f"the live source refused {self._refused_in_a_row} actions in a row; the last time send() raised "
                f"{error!r}. Its traceback is above."
            ) from error

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
        self.tallies["gaps"] += 1
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
        known = self._reader is not None and self._masks == actor.accepts_masks
        return known and (self._current is None or size == actor.memory_size)

    def _forget(self, actor: Actor) -> None:
        """Begin with a new episode: a window was interrupted, or another kind of agent acts."""
        self._lost = self._lost or self._current is not None
        self._current = self._memory = self._pending = self._waiting_for = None
        self._return, self._length = 0.0, 0
        if self._reader is None or self._masks != actor.accepts_masks:
            self._masks = actor.accepts_masks
            self._reader = ItemReader(*self._spaces, masks=self._masks)

    def _tell_pending(self, actor: Actor, window: Window | None) -> None:
        """Nothing will cut the last step any more."""
        owner: Any = self if window is None else window
        name = "_pending" if window is None else "pending"
        _tell(actor, getattr(owner, name))
        setattr(owner, name, None)

    def _latency_facts(self, latencies: list[float]) -> dict[str, Any]:
        bound = self._options.max_latency
        return {
            "latency_mean": float(np.mean(latencies)),
            "latency_max": max(latencies),
            "stale_steps": [] if bound is None else [t for t, s in enumerate(latencies) if s > bound],
        }

    # ---------------------------------------------------------------- items

    def _first(self, came: _Came | None) -> Observed:
        """The next observation that begins an episode; ``came`` is the first candidate."""
        while came is None or came.seen.terminated or came.seen.truncated:
            self._waiting_for = None
            came = self._next(partial=False)
            assert came is not None
        self._waiting_for = None
        seed = came.seen.info.get("seed")
        self._seed = int(seed) if isinstance(seed, int) else None
        return came.seen

    def _next(self, *, partial: bool) -> _Came | None:
        """The next item that can be used; None if the source stalls and ``partial`` windows are allowed."""
        reconnected = False
        while True:
            item = self._wait(partial=partial)
            if item is None:
                self._lost = True
                return None
            reconnected = reconnected or item.reconnected
            self.last_number = item.seq if item.seq is not None else self.last_number
            assert self._reader is not None
            try:
                seen = self._reader.read(item.raw)
            except Malformed as fault:
                self._lost = True
                self._reject(item, str(fault))
                continue
            self._bad_in_a_row = 0
            cut, self._lost = self._lost or item.gap or reconnected, False
            sent = self._waiting_for
            if sent is not None and not cut and seen.info.get("answers", sent) != sent:
                self.tallies["mismatched"] += 1
                cut = True
            self._item = item
            return _Came(seen, cut, reconnected)

    def _wait(self, *, partial: bool) -> Item | None:
        options = self._options
        since = options.clock()
        while True:
            if self._stop():
                raise Exhausted
            edge = options.max_stall if self.stalled else options.stall_timeout
            left = POLL if edge is None else min(POLL, max(0.0, since + edge - options.clock()))
            item = self._buffer.take(left)
            if item is not None:
                self.stalled = False
                return item
            waited = options.clock() - since
            if waited >= options.stall_timeout and not self.stalled:
                self.stalled = True
                self.tallies["stalls"] += 1
                if options.on_stall is not None:
                    options.on_stall(waited)
            if self.stalled and partial:
                return None
            if options.max_stall is not None and waited >= options.max_stall:
                raise StreamStalled(
                    f"the live source gave nothing for {waited:.1f} s (max_stall={options.max_stall:g}), after "
                    f"{self._buffer.counts()['produced']} items and {self.total_steps} complete steps. A source that "
                    "waits for an action of its own has lost the thread; one that is slow by nature needs a longer "
                    "max_stall."
                )

    def _reject(self, item: Item, reason: str) -> None:
        self._buffer.reject()
        self.rejections.append((item.index, reason))
        self._bad_in_a_row += 1
        counts, options = self._buffer.counts(), self._options
        allowed = max(options.max_malformed, int(options.max_malformed_share * counts["produced"]))
        if self._bad_in_a_row > options.max_malformed or counts["malformed"] > allowed:
            raise MalformedItem(
                f"item {item.index} of the live source cannot be used: {reason}. That is number "
                f"{counts['malformed']} of {counts['produced']} items, {self._bad_in_a_row} in a row; "
                f"{options.max_malformed} in a row and {options.max_malformed_share:.0%} are tolerated. Correct the "
                "source, or the spaces it declares."
            )

    # ---------------------------------------------------------------- state

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue counting; the next item begins a new episode."""
        self.window_index, self.total_steps = int(state["window_index"]), int(state["total_steps"])
        self.tallies = {name: int(state["tallies"][name]) for name in TALLIES}
        number = state["last_number"]
        self.last_number = None if number is None else int(number)


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
