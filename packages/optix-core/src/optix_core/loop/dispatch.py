"""Who hears of what happens in the loop: callbacks in order, one failing observer never stopping the others."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from optix_core.loop_callback import LoopCallback

logger = logging.getLogger("optix.loop")

MAX_FAILURES_IN_A_ROW = 3


class CallbackDispatcher:
    """Calls callbacks in the order they were added.

    An exception in an observer is logged with its traceback the first time, counted, and switches the
    observer off after three in
    a row. An exception in a callback with ``critical = True`` (one that changes the agent) is raised,
    because continuing
    would train something half changed. ``KeyboardInterrupt`` and ``SystemExit`` always pass.

    Args:
        callbacks: Observers, first called first.
        strict: Raise every observer's exception.
        on_fault: Told of each failure as ``(callback name, event, error, disabled)``, for the decision log.
    """

    def __init__(
        self,
        callbacks: Iterable[LoopCallback] = (),
        *,
        strict: bool = False,
        on_fault: Callable[[str, str, Exception, bool], None] | None = None,
    ) -> None:
        self._callbacks = list(callbacks)
        self._strict = strict
        self._on_fault = on_fault
        self._failures: dict[int, int] = {}
        self._in_a_row: dict[tuple[int, str], int] = {}
        self._disabled: set[int] = set()

    def __iter__(self) -> Iterator[LoopCallback]:
        return iter(self._callbacks)

    def add(self, callback: LoopCallback) -> None:
        """Let ``callback`` hear everything from now on."""
        self._callbacks.append(callback)

    @property
    def faults(self) -> dict[str, int]:
        """Failures so far per callback, by name; only those that failed."""
        return {name_of(c): self._failures[id(c)] for c in self._callbacks if id(c) in self._failures}

    def fire(self, event: str, *args: Any) -> None:
        """Call ``event`` on every callback that is still enabled."""
        for callback in tuple(self._callbacks):
            if id(callback) in self._disabled:
                continue
            try:
                getattr(callback, event)(*args)
            except Exception as error:
                if self._strict or getattr(callback, "critical", False):
                    raise
                self._record(callback, event, error)
            else:
                self._in_a_row[id(callback), event] = 0

    def _record(self, callback: LoopCallback, event: str, error: Exception) -> None:
        key, name = id(callback), name_of(callback)
        first = key not in self._failures
        self._failures[key] = self._failures.get(key, 0) + 1
        self._in_a_row[key, event] = self._in_a_row.get((key, event), 0) + 1
        disabled = self._in_a_row[key, event] >= MAX_FAILURES_IN_A_ROW
        if first:
            logger.error("callback %s failed in %s; training continues", name, event, exc_info=error)
        if disabled:
            self._disabled.add(key)
            logger.error(
                "callback %s failed %d times in a row and is switched off", name, MAX_FAILURES_IN_A_ROW
            )
        if self._on_fault is not None:
            self._on_fault(name, event, error, disabled)


def name_of(callback: LoopCallback) -> str:
    """The class name of a callback, which is how reports call it."""
    return type(callback).__name__
