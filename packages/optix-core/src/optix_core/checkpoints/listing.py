"""Finding and reading the checkpoints of a directory: what needs no lock.

A damaged checkpoint is stepped over, with one sentence about it; one that the writer removes while it is
being read is looked up again. Who holds the writer's lock also moves damaged ones aside.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from optix_core.checkpoints import reader
from optix_core.checkpoints.commit import quarantine
from optix_core.checkpoints.filesystem import FileSystem
from optix_core.checkpoints.lock import RunLock
from optix_core.checkpoints.manifest import MANIFEST_NAME
from optix_core.checkpoints.reader import CheckpointInfo, LoadedCheckpoint
from optix_core.checkpoints.reporting import Report
from optix_core.checkpoints.retention import by_score
from optix_core.errors import CheckpointError, CorruptCheckpoint, IncompatibleCheckpoint

PREFIX = "ckpt-"
_NAME = re.compile(r"ckpt-(\d{12,19})(?:-r(\d{1,6}))?")
_LISTINGS = 100

T = TypeVar("T")
# The class has a method called list, so inside it these types go by other names.
Infos = list[CheckpointInfo]
Names = list[str]
Order = Callable[[Sequence[CheckpointInfo]], Sequence[CheckpointInfo]]
"""Chooses and orders checkpoints, given all of them in the order of writing."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A directory that looks like a checkpoint and is none."""

    path: Path
    error: CheckpointError


Problems = list[Problem]


class CheckpointListing:
    """The readable side of a directory of checkpoints.

    Args:
        run_dir: The directory, absolute.
        fs: System calls.
        lock: Its lock; only asked whether this process holds it.
        report: Receives one sentence per damaged checkpoint.
    """

    def __init__(self, run_dir: Path, fs: FileSystem, lock: RunLock, report: Report) -> None:
        self.run_dir = run_dir
        self._fs = fs
        self._lock = lock
        self._report = report
        self._reported: set[str] = set()
        self._known: dict[str, tuple[tuple[int, ...], CheckpointInfo]] = {}

    def scan(self) -> tuple[Infos, Problems]:
        """All checkpoints, in the order of writing, and what looks like one but has no valid manifest."""
        for attempt in range(_LISTINGS):
            found, problems, vanished = self._scan_once()
            # A listing taken while the writer works may hold the old name, the new one, both or neither.
            if not vanished and (found or problems or attempt > 0):
                return found, problems
        raise CheckpointError(f"{self.run_dir} changes faster than it can be read; try again.")

    def _scan_once(self) -> tuple[Infos, Problems, bool]:
        found: Infos = []
        problems: Problems = []
        vanished = False
        for name in self._names():
            path = self.run_dir / name
            try:
                info = self._info(path)
                if not name.startswith(f"{PREFIX}{info.step:012d}"):
                    raise CorruptCheckpoint(
                        f"{path} holds a checkpoint of step {info.step}; it was renamed or mixed up."
                    )
                found.append(info)
            except FileNotFoundError:
                vanished = True  # the writer removed it meanwhile
            except CheckpointError as error:
                problems.append(Problem(path, error))
        self._known = {info.name: self._known[info.name] for info in found if info.name in self._known}
        return sorted(found, key=lambda i: (i.sequence, i.step, i.name)), problems, vanished

    def _info(self, path: Path) -> CheckpointInfo:
        """The manifest, parsed once as long as its file stays the same; loading reads and checks it anew."""
        try:
            stamp = self._fs.stamp(path / MANIFEST_NAME)
        except OSError:
            return reader.read_info(self._fs, path)  # says what is wrong
        known = self._known.get(path.name)
        if known is None or known[0] != stamp:
            known = self._known[path.name] = (stamp, reader.read_info(self._fs, path))
        return known[1]

    def list(self) -> Infos:
        """All checkpoints with a valid manifest, in the order of writing. Their data is not looked at."""
        return self.scan()[0]

    def verify(self, name: str | None = None) -> dict[str, CheckpointError | None]:
        """Check every byte of one or all checkpoints; name to what is wrong with it, or None.

        Segments that several share are read once.
        """
        results: dict[str, CheckpointError | None] = {}
        seen: dict[Path, str] = {}
        for candidate in self._names() if name is None else [name]:
            try:
                reader.verify(self._fs, self.run_dir / candidate, seen)
                results[candidate] = None
            except FileNotFoundError:
                if name is not None:
                    raise self._missing(name) from None
            except CheckpointError as error:
                results[candidate] = error
        return results

    def latest(self) -> CheckpointInfo | None:
        """The newest checkpoint whose every byte is right, or None if there are none at all.

        Raises:
            CorruptCheckpoint: There are some, and all are damaged.
        """
        return self._first_good(_newest_first, "newest", reader.verify)

    def best(self) -> CheckpointInfo | None:
        """The one with the highest finite score whose every byte is right; of equal scores the earlier.

        Raises:
            CorruptCheckpoint: There are some with a score, and all of them are damaged.
        """
        return self._first_good(by_score, "best", reader.verify)

    def load(self, name: str | Path | None = None) -> LoadedCheckpoint:
        """Read a checkpoint, verified.

        Args:
            name: "latest" (also None), "best", a checkpoint's name, or the path of its directory.

        Raises:
            CorruptCheckpoint: The one asked for is damaged; for "latest" and "best": all are.
            IncompatibleCheckpoint: A newer optix-core wrote it.
            CheckpointError: There is no such checkpoint.
        """
        if name is None or name in {"latest", "best"}:
            order = by_score if name == "best" else _newest_first
            found = self.find(order, "best" if name == "best" else "newest")
            if found is None:
                which = "with a finite score " if name == "best" else ""
                raise CheckpointError(
                    f"There is no checkpoint {which}in {self.run_dir}.", code="E-CKPT-MISSING"
                )
            return found
        path = self.run_dir / name if isinstance(name, str) and _NAME.fullmatch(name) else Path(name)
        try:
            loaded = reader.load(self._fs, path)
        except FileNotFoundError:
            raise self._missing(str(name)) from None
        self._loaded(loaded)
        return loaded

    def find(self, order: Order, which: str) -> LoadedCheckpoint | None:
        """The first checkpoint in ``order`` whose every byte is right, read.

        Args:
            order: Chooses and orders candidates, given all in the order of writing.
            which: What to call the result in messages ("best").

        Returns:
            None if ``order`` names none.

        Raises:
            CorruptCheckpoint: It names some and all are damaged, or no checkpoint here is intact.
        """
        loaded = self._first_good(order, which, reader.load)
        if loaded is not None:
            self._loaded(loaded)
        return loaded

    def _loaded(self, loaded: LoadedCheckpoint) -> None:
        """Called with whatever was read and found right."""

    def _names(self) -> Names:
        return [
            e.name
            for e in self._fs.entries(self.run_dir)
            if e.kind == "directory" and _NAME.fullmatch(e.name)
        ]

    def _first_good(
        self,
        order: Order,
        which: str,
        use: Callable[[FileSystem, Path], T],
    ) -> T | None:
        """The first in ``order`` for which ``use`` finds every byte right; damaged ones are put aside."""
        for _ in range(_LISTINGS):
            infos, problems = self.scan()
            rejected = {problem.path: problem.error for problem in problems}
            candidates = order(infos)
            try:
                for info in candidates:
                    try:
                        result = use(self._fs, info.path)
                    except CheckpointError as error:
                        rejected[info.path] = error
                    else:
                        self._put_aside(rejected, f"using {info.name} as the {which} instead")
                        return result
            except FileNotFoundError:
                continue  # the writer removed it between listing and reading; list again
            if not rejected or (infos and not candidates):
                self._put_aside(rejected, f"which may have been the {which}")
                return None
            reasons = "\n".join(f"  {error.message}" for error in rejected.values())
            self._put_aside(rejected, f"there is no other to use as the {which}")
            newer = all(isinstance(error, IncompatibleCheckpoint) for error in rejected.values())
            raise (IncompatibleCheckpoint if newer else CorruptCheckpoint)(
                f"No usable checkpoint in {self.run_dir}:\n{reasons}\nRestore the directory from a copy, or "
                "start a new run."
            )
        raise CheckpointError(f"{self.run_dir} changes faster than it can be read; try again.")

    def _put_aside(self, rejected: Mapping[Path, CheckpointError], remedy: str) -> None:
        for path, error in rejected.items():
            if path.name in self._reported:
                continue
            self._reported.add(path.name)
            where = ""
            if self._lock.held and type(error) is CorruptCheckpoint:
                try:
                    where = f" It was moved to {quarantine(self._fs, path)}."
                except OSError as problem:
                    where = f" It could not be moved to quarantine: {problem.strerror or problem}."
            self._report(f"Skipped a damaged checkpoint, {remedy}. {error.message}{where}")

    def _missing(self, name: str) -> CheckpointError:
        known = ", ".join(self._names()[-10:]) or "none"
        return CheckpointError(
            f"There is no checkpoint {name} in {self.run_dir}; there are: {known}.", code="E-CKPT-MISSING"
        )


def _newest_first(infos: Sequence[CheckpointInfo]) -> Sequence[CheckpointInfo]:
    return infos[::-1]
