"""Who hears of what happens in the loop: callbacks in order, one failing observer never stopping the others."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from optix_core.loop_callback import RunEventListener, RunObserver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from optix_core.loop_callback import LoopCallback
    from optix_core.runs.decision_log import LogEvent

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
        self._failing: set[int] = set()
        self._listeners: list[RunEventListener] = [
            c for c in self._callbacks if isinstance(c, RunEventListener)
        ]
        self._run: Any = None

    def __iter__(self) -> Iterator[LoopCallback]:
        return iter(self._callbacks)

    def add(self, callback: LoopCallback) -> None:
        """Let ``callback`` hear everything from now on."""
        self._callbacks.append(callback)
        if isinstance(callback, RunEventListener):
            self._listeners.append(callback)
        if self._run is not None and isinstance(callback, RunObserver):
            self._call(callback, "attach", "attach", (self._run,))

    def attach(self, run: Any) -> None:
        """Tell the observers that ask for it, also those added later, whom they observe."""
        if self._run is run:
            return
        self._run = run
        for callback in tuple(self._callbacks):
            if isinstance(callback, RunObserver):
                self._call(callback, "attach", "attach", (run,))

    @property
    def listening(self) -> bool:
        """Whether anybody wants the events of the decision log."""
        return bool(self._listeners)

    def deliver(self, event: LogEvent) -> None:
        """Hand one event of the decision log to whoever wants them.

        A listener is not told of its own failure: it would fail again over it.
        """
        for listener in tuple(self._listeners):
            # counted per kind: a listener that ignores most kinds must not seem to recover in between
            self._call(listener, "on_run_event", f"on_run_event:{event.kind}", (event,))

    @property
    def faults(self) -> dict[str, int]:
        """Failures so far per callback, by name; only those that failed."""
        return {name_of(c): self._failures[id(c)] for c in self._callbacks if id(c) in self._failures}

    def fire(self, event: str, *args: Any) -> None:
        """Call ``event`` on every callback that is still enabled."""
        for callback in tuple(self._callbacks):
            self._call(callback, event, event, args)

    def _call(self, callback: Any, method: str, event: str, args: tuple[Any, ...]) -> None:
        key = id(callback)
        if key in self._disabled or key in self._failing:
            return
        try:
            getattr(callback, method)(*args)
        except Exception as error:
            if self._strict or getattr(callback, "critical", False):
                raise
            self._failing.add(key)
            try:
                self._record(callback, event, error)
            finally:
                self._failing.discard(key)
        else:
            self._in_a_row[key, event] = 0

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
