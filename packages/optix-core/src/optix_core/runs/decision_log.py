"""Every decision of a run, one JSON line each, with the numbers behind it.

A line ends in a CRC-32 of what stands before it. A process killed in the middle of a line leaves a torn tail,
which the next writer cuts off; a line damaged later is skipped by readers, with a sentence that says which.
Lines are numbered: a run that is resumed from a checkpoint cuts the log back to the number stored there, so
nothing appears twice.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

from optix_core.checkpoints.codec import CodecProblem, decode_value, encode_loosely
from optix_core.checkpoints.filesystem import FileSystem, write_all
from optix_core.checkpoints.jsonio import MAX_DEPTH, JsonProblem, ordered, parse_object
from optix_core.checkpoints.reporting import Report, warn
from optix_core.errors import CheckpointError

MAX_LOG_BYTES = 2 * 2**30
MAX_LINE_BYTES = 2**20
RESERVED = ("seq", "kind", "window", "step", "time", "crc32")
_TAIL = len(b',"crc32":"00000000"}')


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One line.

    Attributes:
        seq: Its number, counted from 1 over the whole run; a missing number is a line that could not be
            written.
        kind: What happened ("improved", "stopped", ...).
        window: Windows learned from at that moment.
        step: Environment steps learned from at that moment.
        time: Wall clock, information only.
        numbers: What the decision was based on.
    """

    seq: int
    kind: str
    window: int
    step: int
    time: float
    numbers: dict[str, Any]


class DecisionLog:
    """The log in one file. Only the holder of the run's lock may write; reading needs nothing.

    Nothing is opened or changed before the first write. Failing writes never stop training: they are counted,
    and the first of a series is reported.

    Args:
        path: The file, usually ``run_dir/events.jsonl``.
        fs: System calls, replaced in tests.
        report: Receives a sentence about damaged lines and failed writes; the default is a Python warning.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        path: str | Path,
        fs: FileSystem | None = None,
        *,
        report: Report = warn,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = Path(path)
        self._fs = fs or FileSystem()
        self._report = report
        self._clock = clock
        self._fd: int | None = None
        self._size = 0
        self._last_seq: int | None = None
        self._failing = False
        self.failures = 0
        """How many lines could not be written."""

    @property
    def last_seq(self) -> int:
        """Number of the last line, 0 if there is none."""
        if self._last_seq is None:
            found = [event.seq for _, event in self._lines() if isinstance(event, LogEvent)]
            self._last_seq = max(found, default=0)
        return self._last_seq

    def write(self, kind: str, window: int = 0, step: int = 0, **numbers: Any) -> int:
        """Append one line and return its number; see :meth:`append`."""
        return self.append(kind, window, step, **numbers).seq

    def append(self, kind: str, window: int = 0, step: int = 0, **numbers: Any) -> LogEvent:
        """Append one line and return it as an event.

        Args:
            kind: What happened.
            window: Windows learned from.
            step: Environment steps learned from.
            **numbers: What it was based on; numpy scalars, NaN and infinity are fine, what JSON cannot say is
                stored as its ``repr``.
        """
        clash = sorted(set(numbers) & set(RESERVED))
        if clash:
            raise ValueError(f"{', '.join(clash)} cannot be names of numbers in a log line")
        try:
            seq = self.last_seq + 1
        except CheckpointError as error:  # unreadable, so the numbers of this session start anew
            self._failed(error)
            seq = 1
        event = LogEvent(seq, kind, int(window), int(step), self._clock(), numbers)
        head = {"seq": seq, "kind": kind, "window": event.window, "step": event.step, "time": event.time}
        line = _sealed(_body({**head, **numbers}))
        self._last_seq = seq
        try:
            if len(line) > MAX_LINE_BYTES:
                raise OSError(f"{kind} has {len(line)} bytes, more than the {MAX_LINE_BYTES} of a line")
            fd = self._opened()
            write_all(self._fs, fd, line)
            self._size += len(line)
        except (OSError, CheckpointError) as error:
            self._failed(error)
        else:
            self._failing = False
        return event

    def truncate_after(self, seq: int) -> int:
        """Remove all lines with a higher number; the next one is ``seq + 1``. Returns how many were removed.

        Raises:
            OSError: The file cannot be changed. Continuing anyway would write lines twice.
        """
        kept, removed = 0, 0
        for end, event in self._lines():
            if isinstance(event, LogEvent) and event.seq > seq:
                removed += 1
            elif removed == 0:
                kept = end
        self.close()
        if self.path.exists():
            fd = self._fs.open_append(self.path)
            try:
                self._fs.truncate(fd, kept)
                self._fs.fsync(fd)
            finally:
                self._fs.close(fd)
        self._last_seq = seq
        return removed

    def read(self, *, strict: bool = False) -> Iterator[LogEvent]:
        """All intact lines, in order. A line that is being written is not there yet.

        Args:
            strict: Raise at a damaged line instead of reporting and skipping it.

        Raises:
            CheckpointError: The file cannot be read, or ``strict`` and a line is damaged.
        """
        for _, event in self._lines():
            if isinstance(event, LogEvent):
                yield event
            elif strict:
                raise CheckpointError(event, code="E-LOG-DAMAGED")
            else:
                self._report(f"{event} It was skipped.")

    def sync(self) -> None:
        """Bring what was written to stable storage; failures are counted like those of :meth:`write`."""
        if self._fd is not None:
            try:
                self._fs.fsync(self._fd)
            except OSError as error:
                self._failed(error)

    def close(self) -> None:
        """Close the file; the next write opens it again."""
        fd, self._fd = self._fd, None
        if fd is not None:
            self._fs.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- inside ------------------------------------------------------------------------------------

    def _opened(self) -> int:
        """The file open for appending, ending in a whole line."""
        if self._fd is None:
            end = max((offset for offset, _ in self._lines()), default=0)
            fd = self._fs.open_append(self.path)
            try:
                self._fs.truncate(fd, end)
            except OSError:
                self._fs.close(fd)
                raise
            self._fd, self._size = fd, end
        return self._fd

    def _failed(self, error: OSError | CheckpointError) -> None:
        self.failures += 1
        if not self._failing:
            why = error.message if isinstance(error, CheckpointError) else error.strerror or error
            self._report(
                f"{self.path} cannot be written: {why}. Training goes on; decisions are missing from the "
                "log until this is solved."
            )
        self._failing = True
        try:
            self.close()  # part of a line may have been written; opening again cuts it off
        except OSError:
            self._fd = None

    def _lines(self) -> Iterator[tuple[int, LogEvent | str]]:
        """Offset behind each whole line, and the event or what is wrong with it. A torn tail is left out."""
        try:
            data = bytes(self._fs.read(self.path, MAX_LOG_BYTES))
        except FileNotFoundError:
            return
        except OSError as error:
            raise CheckpointError(
                f"{self.path} cannot be read: {error.strerror or error}.", code="E-LOG-UNREADABLE"
            ) from error
        start, number = 0, 0
        while (end := data.find(b"\n", start)) >= 0:
            number += 1
            event = _parse(data[start:end], f"{self.path} line {number}")
            start = end + 1
            if isinstance(event, str) and start == len(data):
                return  # the last line, damaged by a power failure: part of the torn tail
            yield start, event


def _body(fields: dict[str, Any]) -> bytes:
    """One line's JSON. What is plain already, as almost every line is, needs no encoding of its own."""
    try:
        text = ordered(fields)
    except (TypeError, ValueError, RecursionError):
        return ordered(encode_loosely(fields))
    # a key that the encoding has to escape, or more levels than a reader accepts
    return (
        ordered(encode_loosely(fields))
        if b'"$' in text or max(map(text.count, (b"[", b"{"))) > MAX_DEPTH // 2
        else text
    )


def _sealed(body: bytes) -> bytes:
    return b'%s,"crc32":"%08x"}\n' % (body[:-1], zlib.crc32(body))


def _parse(line: bytes, where: str) -> LogEvent | str:
    body, tail = line[:-_TAIL] + b"}", line[-_TAIL:]
    if tail != b',"crc32":"%08x"}' % zlib.crc32(body):
        return f"{where} is damaged (its checksum differs)."
    try:
        fields = cast("dict[str, Any]", decode_value(parse_object(body, MAX_LINE_BYTES)))
        return LogEvent(
            seq=int(fields.pop("seq")),
            kind=str(fields.pop("kind")),
            window=int(fields.pop("window")),
            step=int(fields.pop("step")),
            time=float(fields.pop("time")),
            numbers=fields,
        )
    except (JsonProblem, CodecProblem, KeyError, TypeError, ValueError) as error:
        return f"{where} is not an event: {error}."
