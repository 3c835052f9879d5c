"""The curves of a run as files of other programs, after the fact: the same points as live loggers write."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from optix_core.errors import ConfigError
from optix_core.runs.decision_log import LogEvent
from optix_core.runs.scalars import ScalarReader
from optix_core.runs.tensorboard_files import TensorBoardFile

if TYPE_CHECKING:
    from optix_core.runs.run_directory import RunDirectory

COLUMNS = ("seq", "step", "window", "time", "tag", "value")


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        path: The file of a table, the folder of event files.
        points: Points of all curves.
        tags: Curves.
    """

    path: Path
    points: int
    tags: int


def rows(events: Iterable[LogEvent]) -> Iterator[tuple[LogEvent, dict[str, float]]]:
    """Every event that has numbers, with its points."""
    reader = ScalarReader()
    for event in events:
        values = reader.read(event)
        if values:
            yield event, values


def export_tensorboard(run: RunDirectory, folder: Path | None = None) -> Exported:
    """Write one event file; one that was exported there before is replaced.

    Args:
        run: The run.
        folder: Where; None: ``tensorboard`` in the run's directory.

    Raises:
        MissingDependencyError: tensorboard is not installed.
        ConfigError: The folder cannot be written.
        CheckpointError: The log cannot be read.
    """
    target = run.path / "tensorboard" if folder is None else folder
    points, tags = 0, set[str]()
    try:
        file = TensorBoardFile(target, run.path.name)
        try:
            for number, (event, values) in enumerate(rows(run.log().read())):
                if number == 0:
                    file.supersede(event.time)
                file.add(event.step, event.time, values)
                points += len(values)
                tags.update(values)
        finally:
            file.close()
    except OSError as error:
        raise _unwritable(target, error) from error
    return Exported(target, points, len(tags))


def export_csv(run: RunDirectory, folder: Path | None = None) -> Exported:
    """Write ``scalars.csv``: one line per point, with the number of its event; numbers read back exactly.

    Args:
        run: The run.
        folder: Where; None: the run's directory.

    Raises:
        ConfigError: The folder cannot be written.
        CheckpointError: The log cannot be read.
    """
    target = (run.path if folder is None else folder) / "scalars.csv"
    points, tags = 0, set[str]()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.part")
        with temporary.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(COLUMNS)
            for event, values in rows(run.log().read()):
                head = (event.seq, event.step, event.window, repr(event.time))
                writer.writerows((*head, tag, repr(value)) for tag, value in values.items())
                points += len(values)
                tags.update(values)
        temporary.replace(target)
    except OSError as error:
        raise _unwritable(target, error) from error
    return Exported(target, points, len(tags))


EXPORTERS = {"tensorboard": export_tensorboard, "csv": export_csv}
"""What ``optix log export --to`` accepts."""


def _unwritable(target: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"{target} cannot be written: {error.strerror or error}. Choose another folder: --out DIR"
    )
