"""What goes back and forth between a live source and the one that acts: items come in, actions go out.

Decides which items can be used, which of them are neighbours, and when a source that misbehaves ends the run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from optix_core.errors import MalformedItem, StreamError, StreamStalled
from optix_core.pipelines.live.buffer import Exhausted, ItemBuffer
from optix_core.pipelines.live.options import LiveOptions
from optix_core.pipelines.live.reading import ItemReader, Malformed, Observed
from optix_core.pipelines.live.source import Item
from optix_core.rl.spaces import SpaceInfo

TALLIES = ("gaps", "stalls", "sent", "send_errors", "stale", "mismatched")
POLL = 0.25
"""Seconds between two looks at whether a stop was requested."""
SEND_FAILURES = 10
"""Actions in a row that ``send`` may refuse."""


@dataclass(slots=True)
class Came:
    """An item that can be used.

    Attributes:
        seen: What it shows.
        cut: It is no neighbour of the observation before it.
        reconnected: It is the first one of another connection.
    """

    seen: Observed
    cut: bool
    reconnected: bool


class Exchange:
    """Takes items from a buffer and hands actions to their source.

    Args:
        buffer: Where items come from.
        send: Hands an action to the source; None if it wants none.
        observation_space: If known.
        action_space: If known.
        options: See :class:`~optix_core.pipelines.live.options.LiveOptions`.
        stop_requested: Looked at while waiting.
        steps_done: Complete steps so far, for messages.

    Attributes:
        tallies: What is counted on this side of the buffer.
        last_number: ``seq`` of the newest item that was taken.
        stalled: Nothing has come for ``stall_timeout``.
        rejections: Newest malformed items, as (index, reason).
        lost: Something between the newest item and the next is lost, so that they are no neighbours.
    """

    def __init__(
        self,
        buffer: ItemBuffer,
        send: Callable[[Any, int], None] | None,
        observation_space: SpaceInfo | None,
        action_space: SpaceInfo | None,
        options: LiveOptions,
        stop_requested: Callable[[], bool],
        steps_done: Callable[[], int],
    ) -> None:
        self._buffer, self._send, self._options = buffer, send, options
        self._spaces = observation_space, action_space
        self._stop, self._steps_done = stop_requested, steps_done
        self.tallies: dict[str, int] = dict.fromkeys(TALLIES, 0)
        self.last_number: int | None = None
        self.stalled = False
        self.rejections: deque[tuple[int, str]] = deque(maxlen=100)
        self.lost = False
        self._reader: ItemReader | None = None
        self._masks = False
        self._item: Item | None = None  # the newest one that could be used
        self._waiting_for: int | None = None  # id of the item whose action was sent last
        self._bad_in_a_row = self._refused_in_a_row = 0

    def reads(self, *, masks: bool) -> bool:
        """Whether items are read for an agent of this kind already; see :meth:`read_for`."""
        return self._reader is not None and self._masks == masks

    def read_for(self, *, masks: bool) -> None:
        """Read items for an agent that acts from now on.

        Args:
            masks: It understands action masks.
        """
        self._waiting_for = None
        if not self.reads(masks=masks):
            self._masks = masks
            self._reader = ItemReader(*self._spaces, masks=masks)

    # ---------------------------------------------------------------- items

    def first(self, came: Came | None = None) -> Observed:
        """The next observation that begins an episode; ``came`` is the first candidate.

        Raises:
            Exhausted: There is none, or a stop was requested.
            StreamError: As for :meth:`following`.
        """
        while came is None or came.seen.terminated or came.seen.truncated:
            self._waiting_for = None
            came = self.following(partial=False)
            assert came is not None
        self._waiting_for = None
        return came.seen

    def following(self, *, partial: bool) -> Came | None:
        """The next item that can be used; None if the source stalls and ``partial`` windows are allowed.

        Raises:
            Exhausted: There is none, or a stop was requested.
            StreamError: The source failed for good, fell silent, or delivers too much that cannot be used.
        """
        reconnected = False
        while True:
            item = self._wait(partial=partial)
            if item is None:
                self.lost = True
                return None
            reconnected = reconnected or item.reconnected
            self.last_number = item.seq if item.seq is not None else self.last_number
            assert self._reader is not None
            try:
                seen = self._reader.read(item.raw)
            except Malformed as fault:
                self.lost = True
                self._reject(item, str(fault))
                continue
            self._bad_in_a_row = 0
            cut, self.lost = self.lost or item.gap or reconnected, False
            sent = self._waiting_for
            if sent is not None and not cut and seen.info.get("answers", sent) != sent:
                self.tallies["mismatched"] += 1
                cut = True
            self._item = item
            return Came(seen, cut, reconnected)

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
                    f"{self._buffer.counts()['produced']} items and {self._steps_done()} complete steps. A source that "
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

    # ---------------------------------------------------------------- actions

    def answer(self, action: Any) -> float:
        """Send the action for the newest item; returns the seconds since that came.

        Raises:
            StreamError: The source has refused too many in a row.
        """
        item = self._item
        assert item is not None
        self._waiting_for = item.id
        if self._send is not None:
            try:
                self._send(action, item.id)
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
        self.lost = True
        if self._refused_in_a_row > SEND_FAILURES:
            raise StreamError(
                f"the live source refused {self._refused_in_a_row} actions in a row; the last time send() raised "
                f"{error!r}. Its traceback is above."
            ) from error

    # ---------------------------------------------------------------- state

    def load(self, tallies: Mapping[str, Any], last_number: int | None) -> None:
        """Continue counting behind the item with that number."""
        self.tallies = {name: int(tallies[name]) for name in TALLIES}
        self.last_number = None if last_number is None else int(last_number)
