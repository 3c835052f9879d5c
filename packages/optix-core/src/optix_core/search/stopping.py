"""When a search is to end before it is done: somebody asked for it, or a signal came."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Generator

from optix_core.loop.signals import StopOnSignal


class Interrupted(Exception):
    """A stop was requested in the middle of a training."""


class Stopping:
    """Whether the search under way is to end.

    Args:
        handle_signals: Listen to SIGINT, SIGTERM and SIGHUP (main thread only).
    """

    def __init__(self, *, handle_signals: bool) -> None:
        self._handle_signals = handle_signals
        self._signals = StopOnSignal(enabled=False)
        self.requested = False
        """Whether somebody asked for it: the best so far is wanted. After a signal, nothing is."""

    def request(self) -> None:
        """Ask for it."""
        self.requested = True

    def __call__(self) -> bool:
        """Whether the search is to end, for either reason."""
        return self.requested or self._signals.received is not None

    def raise_signal(self) -> None:
        """Go no further if a signal came.

        Raises:
            KeyboardInterrupt: SIGINT came; other signals raise SystemExit.
        """
        if self._signals.received is not None:
            raise ended_by(self._signals.received)

    @contextlib.contextmanager
    def listening(self) -> Generator[None, None, None]:
        """Listen to signals for one search, and forget at its end that somebody asked.

        Raises:
            KeyboardInterrupt: As for :meth:`raise_signal`, when all work is done.
        """
        self._signals = StopOnSignal(enabled=self._handle_signals)
        try:
            with self._signals:
                yield
            self.raise_signal()
        finally:
            self.requested = False


def ended_by(number: int) -> BaseException:
    """What a search raises after it was ended by a signal."""
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)
