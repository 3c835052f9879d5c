"""How Ctrl-C, SIGTERM and SIGHUP end a run: at the next safe point, with everything saved."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import FrameType, TracebackType

HANDLED = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class StopOnSignal:
    """Context manager: the first signal only sets :attr:`received`; the second one does what it did before.

    Signals are handled in the main thread only; elsewhere the context does nothing. Previous handlers are
    put back on the
    first signal already, so that an impatient second one is never swallowed.
    """

    def __init__(self, *, enabled: bool = True) -> None:
        self._enabled = enabled
        self._previous: dict[int, Any] = {}
        self.received: int | None = None

    def __enter__(self) -> Self:
        if self._enabled and threading.current_thread() is threading.main_thread():
            for number in HANDLED:
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, error, trace
        self._restore()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.received = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            # None means that the handler was not installed from Python; there is nothing of ours to put back then.
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._previous.clear()
