"""The thread in which a source runs, and how it gets back to a source that was lost."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import threading
import time
from collections import deque
from collections.abc import Generator
from typing import Any

from optix_core.errors import ConfigError, StreamError
from optix_core.pipelines.live.buffer import ItemBuffer
from optix_core.seeding import Domain, generator

logger = logging.getLogger("optix.live")

PATIENCE = 2.0
"""Seconds that ending a thread may take."""


class Abandoned(BaseException):
    """Raised inside a source that neither yields nor returns after its pipeline was torn down."""


class Backoff:
    """Seconds to wait before the k-th attempt in a row: ``first * 2**k`` times 0.75 to 1.25, at most ``longest``.

    Args:
        first: Seconds, positive.
        longest: Seconds.
        seed: Of the factor, which keeps many clients of one service from coming back at the same moment.
    """

    def __init__(self, first: float, longest: float, seed: int) -> None:
        if not 0 < first <= longest:
            raise ConfigError(f"reconnect_delay is ({first}, {longest}); expected 0 < first <= longest")
        self.first, self.longest, self.seed = first, longest, seed

    def __call__(self, attempt: int, number: int) -> float:
        """Before attempt ``attempt`` in a row (from 0), which is the ``number``-th of the run."""
        factor = float(generator(self.seed, Domain.LIVE, number).uniform(0.75, 1.25))
        return min(self.longest, self.first * 2.0 ** min(attempt, 60) * factor)


class Producer:
    """Runs ``source.stream()`` in a thread and puts what it yields into a buffer.

    Args:
        source: See :class:`~optix_core.pipelines.live.source.LiveSource`.
        buffer: Where items go.
        reconnect: Open the stream again after an exception.
        max_reconnects: Attempts in a row without an item in between; None: no limit.
        backoff: How long to wait before each.
        resume_at: Begin behind this number.

    Attributes:
        errors: The newest exceptions of the source.
        error_count: All of them.
    """

    def __init__(
        self,
        source: Any,
        buffer: ItemBuffer,
        *,
        reconnect: bool,
        max_reconnects: int | None,
        backoff: Backoff,
        resume_at: int | None = None,
    ) -> None:
        self._source, self._buffer = source, buffer
        self._reconnect, self._limit, self._backoff = reconnect, max_reconnects, backoff
        self._resume_at = resume_at
        self._resumes = callable(getattr(source, "resume_from", None))
        self.errors: deque[Exception] = deque(maxlen=10)
        self.error_count = 0
        self.thread = threading.Thread(target=self._run, name="optix-live-source", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self.thread.start()

    def stop(self) -> None:
        """End the thread, within two seconds, and close the source.

        A source that waits for something is asked to ``close()``; one that polls without end is interrupted between two
        of its steps. Nothing in Python can interrupt a call into the operating system that never returns: such a
        thread is reported and ends when its call does.
        """
        deadline = time.monotonic() + PATIENCE
        self._buffer.close()
        closing = self._close_source(deadline)
        self._join(min(deadline, time.monotonic() + PATIENCE / 4))
        while self.thread.is_alive() and time.monotonic() < deadline:
            self._interrupt()
            self._join(min(deadline, time.monotonic() + PATIENCE / 8))
        left = [t.name for t in (self.thread, closing) if t is not None and t.is_alive()]
        if left:
            logger.error(
                "%s does not end: %s waits in a call that cannot be interrupted. Give the source a close() "
                "that ends what its stream() waits for.",
                type(self._source).__name__,
                " and ".join(left),
            )

    def _join(self, deadline: float) -> None:
        if self.thread.ident is not None:
            self.thread.join(max(0.0, deadline - time.monotonic()))

    def _close_source(self, deadline: float) -> threading.Thread | None:
        close = getattr(self._source, "close", None)
        if not callable(close):
            return None

        def run() -> None:
            try:
                close()
            except Exception:
                logger.exception("close() of the live source %s failed", type(self._source).__name__)

        thread = threading.Thread(target=run, name="optix-live-close", daemon=True)
        thread.start()
        thread.join(max(0.0, (deadline - time.monotonic()) / 2))
        return thread

    def _interrupt(self) -> None:
        ident = self.thread.ident
        if ident is not None and self.thread.is_alive():
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(Abandoned))

    # ---------------------------------------------------------------- in the thread

    def _run(self) -> None:
        try:
            self._follow()
        except Abandoned:
            pass
        except BaseException as error:  # the trainer must hear of it, whatever it is
            self._buffer.finish(self._failure(error, "it cannot be opened again"))
            if not isinstance(error, Exception):
                raise

    def _follow(self) -> None:
        failures = 0
        while not self._buffer.closed:
            came = 0
            try:
                with contextlib.closing(self._items()) as items:
                    for raw in items:
                        if not self._buffer.put(raw):
                            return
                        came += 1
            except Exception as error:  # noqa: BLE001 - whatever ends a stream is a disconnection, kept and counted
                self._note(error)
                failures = 1 if came else failures + 1
                if not self._reconnect:
                    self._buffer.finish(self._failure(error, "reconnect_on_disconnect is False"))
                    return
                if self._limit is not None and failures > self._limit:
                    self._buffer.finish(
                        self._failure(error, f"{self._limit} attempts to reconnect brought nothing")
                    )
                    return
                if self._buffer.wait_closed(self._backoff(failures - 1, self._buffer.counts()["reconnects"])):
                    return
                self._buffer.reconnected(numbers_go_on=self._resumes)
                self._resume_at = self._last_number() if self._resumes else None
            else:
                self._buffer.finish()
                return

    def _items(self) -> Generator[Any]:
        if self._resume_at is not None and self._resumes:
            self._source.resume_from(self._resume_at)
        stream = iter(self._source.stream())
        close = getattr(stream, "close", None)
        with contextlib.ExitStack() as stack:
            if callable(close):
                stack.callback(close)
            yield from stream

    def _last_number(self) -> int | None:
        following = self._buffer.next_number
        return None if following is None else following - 1

    def _note(self, error: Exception) -> None:
        self.errors.append(error)
        self.error_count += 1
        logger.warning("the live source %s failed: %r", type(self._source).__name__, error)

    def _failure(self, error: BaseException, why: str) -> StreamError:
        failure = StreamError(
            f"the live source {type(self._source).__name__} failed: {error!r}, and {why}. Its traceback is above. "
            "Items that had come before were used."
        )
        failure.__cause__ = error
        return failure
