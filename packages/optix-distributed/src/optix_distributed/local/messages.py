"""What learner and actors tell each other: short frames of fixed size on two pipes per actor.

A frame is smaller than PIPE_BUF, so it is written whole or not at all; and no two processes write to the same pipe,
so a killed actor leaves nothing half-said that another one would trip over.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

GRANT = struct.Struct("<qq")
"""To an actor: slot, and the version to act with (``NEWEST``: whichever is newest when it begins)."""

REPORT = struct.Struct("<qqqqq")
"""From an actor: kind, slot, version, sequence number, steps. Of a failure: kind, 0, 0, 0, bytes of text to follow."""
READY, FILLED, FAILED = 1, 2, 3
TEXT_LIMIT = 65_536
"""Bytes of a traceback that is passed on; of longer ones the end."""


@dataclass(frozen=True, slots=True)
class Report:
    """What an actor said.

    Attributes:
        kind: :data:`READY`, :data:`FILLED` or :data:`FAILED`.
        slot: Which slot it filled.
        version: Of the weights that acted, from the first to the last step.
        sequence: Trajectories that it filled before this one.
        steps: Environment steps in it.
        text: The traceback of a failure.
    """

    kind: int
    slot: int = 0
    version: int = 0
    sequence: int = 0
    steps: int = 0
    text: str = ""


def send(fd: int, report: Report) -> None:
    """Write one frame."""
    if report.kind != FAILED:
        os.write(fd, REPORT.pack(report.kind, report.slot, report.version, report.sequence, report.steps))
        return
    text = report.text.encode("utf-8", "replace")[-TEXT_LIMIT:]
    rest = memoryview(REPORT.pack(FAILED, 0, 0, 0, len(text)) + text)
    while rest:
        rest = rest[os.write(fd, rest) :]


class Inbox:
    """Puts frames together from what a pipe happens to deliver at once.

    Args:
        fd: A descriptor that does not block.

    Attributes:
        ended: The other side has closed the pipe.
    """

    def __init__(self, fd: int) -> None:
        self.fd, self.ended = fd, False
        self._bytes = bytearray()

    def read(self) -> list[Report]:
        """Every complete frame that is there."""
        while not self.ended:
            try:
                chunk = os.read(self.fd, TEXT_LIMIT)
            except BlockingIOError:
                break
            self.ended = not chunk
            self._bytes += chunk
        found: list[Report] = []
        while (report := self._next()) is not None:
            found.append(report)
        return found

    def _next(self) -> Report | None:
        size = REPORT.size
        if len(self._bytes) < size:
            return None
        kind, slot, version, sequence, steps = REPORT.unpack_from(self._bytes)
        if kind == FAILED:
            if len(self._bytes) < size + steps:
                return None
            text = bytes(self._bytes[size : size + steps]).decode("utf-8", "replace")
            del self._bytes[: size + steps]
            return Report(FAILED, text=text)
        del self._bytes[:size]
        return Report(kind, slot, version, sequence, steps)
