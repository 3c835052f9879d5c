"""File systems that fail, die, record or live in memory, and small states to store."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optix_core.checkpoints.filesystem import Entry, FileSystem
from optix_core.state import SealedArray

CHANGING = (
    "mkdir",
    "create",
    "open_append",
    "write",
    "truncate",
    "fsync",
    "close",
    "sync_file",
    "sync_directory",
    "rename",
    "unlink",
    "rmdir",
)


class Killed(BaseException):
    """The process would be gone here."""


class FaultyFileSystem(FileSystem):
    """Fails changing operations number ``at`` (counted from 1), once or from there on; or dies there."""

    def __init__(self) -> None:
        self.count = 0
        self.at: int | None = None
        self.error: int | None = None
        self.persistent = False
        self.hits = 0
        self.names: list[str] = []

    def arm(self, at: int, error: int | None, *, persistent: bool) -> None:
        self.count, self.at, self.error, self.persistent, self.hits, self.names = (
            0,
            at,
            error,
            persistent,
            0,
            [],
        )

    def disarm(self) -> None:
        self.at = None

    def _before(self, name: str) -> None:
        self.count += 1
        self.names.append(name)
        if self.at is None:
            return
        if self.count == self.at or (self.persistent and self.count > self.at):
            self.hits += 1
            if self.error is None:
                raise Killed
            raise OSError(self.error, os.strerror(self.error))


def _faulty(name: str) -> Any:
    original = getattr(FileSystem, name)

    def operation(self: FaultyFileSystem, *args: Any) -> Any:
        if name == "close":  # a failing close still closes
            original(self, *args)
            self._before(name)
            return None
        self._before(name)
        if name == "write" and self.at is not None and self.count + 1 == self.at:
            return original(
                self, args[0], args[1][: max(1, len(args[1]) // 2)]
            )  # a short write, then the failure
        return original(self, *args)

    return operation


for _name in CHANGING:
    setattr(FaultyFileSystem, _name, _faulty(_name))


class MemoryFileSystem(FileSystem):
    """A tree of bytes for reading only: nested dicts below ``root``."""

    def __init__(self, root: Path, tree: dict[str, Any]) -> None:
        self.root, self.tree = root, tree

    def _at(self, path: Path) -> Any:
        node: Any = self.tree
        for part in path.relative_to(self.root).parts:
            if not isinstance(node, dict):
                raise NotADirectoryError(errno.ENOTDIR, "not a directory")
            if part not in node:
                raise FileNotFoundError(errno.ENOENT, "no such file")
            node = node[part]
        return node

    def entries(self, path: Path) -> list[Entry]:
        node = self._at(path)
        if not isinstance(node, dict):
            raise NotADirectoryError(errno.ENOTDIR, "not a directory")
        return [Entry(n, "directory" if isinstance(c, dict) else "file") for n, c in sorted(node.items())]

    def size(self, path: Path) -> int:
        return len(self._at(path))

    def read(self, path: Path, limit: int) -> bytearray:
        data = self._at(path)
        if isinstance(data, dict):
            raise IsADirectoryError(errno.EISDIR, "is a directory")
        if len(data) > limit:
            raise OSError("too large")
        return bytearray(data)


def tree_of(path: Path) -> dict[str, Any]:
    """A directory on disk as nested dicts."""
    return {p.name: tree_of(p) if p.is_dir() else p.read_bytes() for p in path.iterdir() if p.name != ".lock"}


def small_state(value: float = 0.0) -> dict[str, Any]:
    """What an agent and a loop might store."""
    return {
        "agent": {
            "weights": {"w": np.full((3, 2), value, np.float32)},
            "updates": int(value),
            "name": "small",
        },
        "loop": {"scores": np.arange(3, dtype=np.float64) + value, "best": float("-inf"), "done": False},
    }


def sealed_state(value: float = 0.0) -> dict[str, Any]:
    """The same with a replay memory: neighbours share segments, and no segment is shared by all."""
    state = small_state(value)
    ring = [SealedArray(np.full((2, 3), int(value) // 2 + i, np.uint8)) for i in range(2)]
    state["agent"]["replay"] = {"segments": ring, "open": np.full(3, value, np.float32)}
    state["loop"]["seen"] = SealedArray(np.full(2, value, np.float32))
    return state


@pytest.fixture
def fast_path(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory where there is one: hundreds of saves without waiting for a disk."""
    if Path("/dev/shm").is_dir() and os.access("/dev/shm", os.W_OK):
        with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="optix-test-") as name:
            yield Path(name)
    else:
        yield tmp_path


@pytest.fixture
def killed() -> type[BaseException]:
    return Killed


@pytest.fixture
def faulty() -> FaultyFileSystem:
    return FaultyFileSystem()


@pytest.fixture
def memory_fs() -> Any:
    return MemoryFileSystem


@pytest.fixture
def tree() -> Any:
    return tree_of


@pytest.fixture
def state() -> Any:
    return small_state


@pytest.fixture(params=["plain", "sealed"])
def any_state(request: pytest.FixtureRequest) -> Any:
    """A state with and one without sealed arrays, for promises that hold for both."""
    return sealed_state if request.param == "sealed" else small_state


@pytest.fixture
def with_segments() -> Any:
    """A state with sealed arrays."""
    return sealed_state


@pytest.fixture
def changing() -> tuple[str, ...]:
    return CHANGING
