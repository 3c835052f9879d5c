"""The bounded queue between a source's thread and the one that trains, and the books about it.

Every item is in exactly one account at any moment; all accounts change under one lock. Whatever is lost between two
items marks the next one with ``gap``, so that nobody takes them for neighbours.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from optix_core.errors import ConfigError, StreamError
from optix_core.pipelines.live.source import Item, number_of

Overflow = Literal["block", "drop_oldest", "drop_newest", "error"]

ACCOUNTS: tuple[str, ...] = (
    "produced",
    "consumed",
    "dropped",
    "malformed",
    "duplicates",
    "late",
    "missing",
    "reconnects",
)
FORGOTTEN = 1000
"""Ranges of missing numbers that are remembered, to tell a late item from a repeated one."""


class Exhausted(Exception):
    """The source has come to its end and everything that it gave was taken, or the buffer was closed."""


class ItemBuffer:
    """First in, first out, at most ``capacity`` items, in the order of their numbers where they have any.

    Args:
        capacity: Items in the queue.
        overflow: What happens to an item for which there is no room: ``block`` (the source waits), ``drop_oldest``,
            ``drop_newest``, or ``error``.
        reorder_window: Numbered items that are held back, at most, until a missing one comes.
        reorder_wait: Seconds after which they are held back no longer.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        capacity: int,
        overflow: Overflow,
        *,
        reorder_window: int = 8,
        reorder_wait: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if capacity < 1:
            raise ConfigError(f"buffer_size is {capacity}; the buffer needs room for at least 1 item")
        if overflow not in get_args(Overflow):
            raise ConfigError(f"overflow is {overflow!r}; expected one of {', '.join(get_args(Overflow))}")
        if reorder_window < 0:
            raise ConfigError(f"reorder_window is {reorder_window}; it must be at least 0")
        self.capacity, self.overflow = capacity, overflow
        self._window, self._wait, self._clock = reorder_window, reorder_wait, clock
        self._changed = threading.Condition()
        self._queue: deque[Item] = deque()
        self._held: dict[int, Item] = {}
        self._entering = 0  # items that are in order and wait for room
        self._books: dict[str, int] = dict.fromkeys(ACCOUNTS, 0)
        self._next: int | None = None
        self._skipped: deque[tuple[int, int]] = deque(maxlen=FORGOTTEN)
        self._gap = self._reconnected = False
        self._last_arrival = clock()
        self._finished = self._closed = self._overflown = False
        self._error: StreamError | None = None

    # ---------------------------------------------------------------- the source's side

    def put(self, raw: Any) -> bool:
        """Take an item from the source; False if nothing is wanted any more (the item is not counted then)."""
        with self._changed:
            if self._closed:
                return False
            item = Item(self._books["produced"], raw, number_of(raw), self._clock())
            self._books["produced"] += 1
            self._last_arrival = item.arrived
            ready = self._in_order(item)
            self._entering += len(ready)
            for one in ready:
                self._enter(one)
            return not (self._closed or self._overflown)

    def reconnected(self, *, numbers_go_on: bool) -> None:
        """The next item comes from another connection; held items have lost what they waited for."""
        with self._changed:
            released = self._all_held()
            self._entering += len(released)
            for item in released:
                self._enter(item)
            self._books["reconnects"] += 1
            self._reconnected = True
            if not numbers_go_on:
                self._next = None
                self._skipped.clear()

    def finish(self, error: StreamError | None = None) -> None:
        """No item will come any more."""
        with self._changed:
            self._finished, self._error = True, self._error or error
            self._changed.notify_all()

    def wait_closed(self, seconds: float) -> bool:
        """Wait; True as soon as the buffer is closed."""
        with self._changed:
            return self._changed.wait_for(lambda: self._closed, seconds)

    # ---------------------------------------------------------------- the trainer's side

    def take(self, timeout: float) -> Item | None:
        """The next item; None if none came for ``timeout`` seconds.

        Raises:
            Exhausted: There will be none.
            StreamError: The source failed for good, or there was no room and the policy is ``error``.
        """
        with self._changed:
            deadline = self._clock() + timeout
            while self._overflown or not self._queue:
                if self._closed:
                    raise Exhausted
                if self._overflown:
                    raise self._error or Exhausted
                now = self._clock()
                if self._held and not self._entering and self._given_up(now):
                    self._queue.extend(self._marked(item) for item in self._all_held())
                    continue
                if self._finished and not self._held and not self._entering:
                    if self._error is not None:
                        raise self._error
                    raise Exhausted
                if now >= deadline:
                    return None
                until = min(deadline, self._last_arrival + self._wait) if self._held else deadline
                self._changed.wait(max(until - now, 1e-4))
            item = self._queue.popleft()
            self._books["consumed"] += 1
            self._changed.notify_all()
            return item

    def reject(self) -> None:
        """The item that was taken last turned out to be malformed; what came before and after it are no neighbours."""
        with self._changed:
            self._books["consumed"] -= 1
            self._books["malformed"] += 1

    def close(self) -> None:
        """Wake up both sides for good. Items in the queue stay counted as buffered."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    # ---------------------------------------------------------------- the books

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    @property
    def next_number(self) -> int | None:
        """The number that the next item should have."""
        return self._next

    def counts(self) -> dict[str, int]:
        """All accounts at one moment, with ``rejected`` and ``buffered``."""
        with self._changed:
            books = dict(self._books)
            books["buffered"] = len(self._queue) + len(self._held) + self._entering
        books["rejected"] = books["malformed"] + books["duplicates"] + books["late"]
        return books

    def continue_from(self, books: Mapping[str, int], last_number: int | None) -> None:
        """Go on with stored accounts, behind the item with ``last_number``; what was buffered then is forgotten."""
        self._books = {name: int(books[name]) for name in ACCOUNTS}
        spent = ("consumed", "dropped", "malformed", "duplicates", "late")
        self._books["produced"] = sum(self._books[name] for name in spent)
        self._next = None if last_number is None else last_number + 1

    # ---------------------------------------------------------------- inside, under the lock

    def _in_order(self, item: Item) -> list[Item]:
        """What may enter the queue now that ``item`` is here."""
        if item.seq is None:
            return [item]
        if self._next is None:
            self._next = item.seq
        if item.seq < self._next or item.seq in self._held:
            late = any(low <= item.seq < high for low, high in self._skipped)
            self._books["late" if late else "duplicates"] += 1
            return []
        self._held[item.seq] = item
        ready = self._following()
        while len(self._held) > self._window:
            ready += self._skip_to(min(self._held))
        return ready

    def _following(self) -> list[Item]:
        """Held items whose turn it is."""
        ready: list[Item] = []
        while self._next in self._held:
            assert self._next is not None
            ready.append(self._held.pop(self._next))
            self._next += 1
        return ready

    def _skip_to(self, number: int) -> list[Item]:
        """Give up the numbers before ``number``."""
        assert self._next is not None
        self._books["missing"] += number - self._next
        self._skipped.append((self._next, number))
        self._next = number
        self._held[number].gap = True
        return self._following()

    def _all_held(self) -> list[Item]:
        ready: list[Item] = []
        while self._held:
            ready += self._skip_to(min(self._held))
        return ready

    def _given_up(self, now: float) -> bool:
        return self._finished or now - self._last_arrival >= self._wait

    def _marked(self, item: Item) -> Item:
        """``item`` as the next one in the queue."""
        item.gap, self._gap = item.gap or self._gap, False
        item.reconnected, self._reconnected = item.reconnected or self._reconnected, False
        return item

    def _enter(self, item: Item) -> None:
        """Into the queue, if there is room or room can be made. ``_entering`` counts it until it has its place."""
        while len(self._queue) >= self.capacity and self.overflow == "block" and not self._closed:
            self._changed.wait()
        self._entering -= 1
        if self._closed and self.overflow == "block" and len(self._queue) >= self.capacity:
            self._books["dropped"] += 1
            return
        if len(self._queue) >= self.capacity:
            self._books["dropped"] += 1
            if self.overflow == "drop_oldest":
                lost = self._queue.popleft()
                heir = self._queue[0] if self._queue else item
                heir.gap = True
                heir.reconnected = heir.reconnected or lost.reconnected
            else:
                self._gap = True
                if self.overflow == "error" and not self._overflown:
                    self._error = StreamError(
                        f"the buffer of {self.capacity} items is full and overflow='error'. The source is faster than "
                        "training: make buffer_size larger, or choose 'block', 'drop_oldest' or 'drop_newest'.",
                        code="E-STREAM-OVERFLOW",
                    )
                    self._finished = self._overflown = True
                self._changed.notify_all()
                return
        self._queue.append(self._marked(item))
        self._changed.notify_all()
