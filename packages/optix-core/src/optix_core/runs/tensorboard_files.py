"""Event files for TensorBoard, written with the package tensorboard alone: no machine-learning framework is needed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optix_core.runs.extras import require

_QUEUE = 1000
"""Rows that may wait for the writing thread; a window is a row, so that training never waits for a slow disk."""


class TensorBoardFile:
    """One event file. A thread of its own writes; :meth:`close` ends it.

    Args:
        folder: Where the file is made; created if missing.
        name: Identifies the run in the file's name.
        flush_secs: Seconds after which what was written is visible to readers.
        max_queue: Rows that may wait for the writing thread.
        suffix: Appended to the file's name.

    Raises:
        MissingDependencyError: tensorboard is not installed.
        OSError: The file cannot be made.
    """

    def __init__(
        self,
        folder: str | Path,
        name: str = "",
        *,
        flush_secs: float = 10.0,
        max_queue: int = _QUEUE,
        suffix: str = "",
    ) -> None:
        writer, self._events, self._summaries = modules()
        self.folder = Path(folder)
        self._mark = f".optix-{name}" if name else ".optix"
        before = set(self._files())
        self._writer: Any = writer.EventFileWriter(
            str(folder), max_queue_size=max_queue, flush_secs=flush_secs, filename_suffix=self._mark + suffix
        )
        self._older = before

    def add(self, step: int, wall_time: float, values: Mapping[str, float]) -> None:
        """One point of each curve."""
        make = self._summaries.Summary
        rows = [make.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        summary = make(value=rows)
        self._writer.add_event(self._events.Event(wall_time=wall_time, step=step, summary=summary))

    def supersede(self, wall_time: float) -> None:
        """What follows replaces what earlier files of the same run held: they go away, and open readers forget them."""
        if not self._older:
            return
        log = self._events.SessionLog
        self._writer.add_event(
            self._events.Event(wall_time=wall_time, step=0, session_log=log(status=log.START))
        )
        for path in self._older:
            path.unlink(missing_ok=True)
        self._older.clear()

    def close(self) -> None:
        """Write what waits, and end the thread."""
        self._writer.close()

    def _files(self) -> list[Path]:
        """Event files of the same run."""
        if not self.folder.is_dir():
            return []
        return [
            path
            for path in self.folder.iterdir()
            if "tfevents" in path.name and self._mark in path.name and self._mark != ".optix"
        ]


def modules() -> tuple[Any, Any, Any]:
    """The writer and the two kinds of messages.

    Raises:
        MissingDependencyError: tensorboard is not installed.
    """
    what = "writing event files for TensorBoard"
    names = ("summary.writer.event_file_writer", "compat.proto.event_pb2", "compat.proto.summary_pb2")
    found = [require(f"tensorboard.{name}", extra="tensorboard", what=what) for name in names]
    return found[0], found[1], found[2]
