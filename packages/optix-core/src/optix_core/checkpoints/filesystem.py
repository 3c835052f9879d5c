"""The one place that changes files of a run: a thin layer over system calls.

Everything the checkpoint store and the decision log do to a disk goes through :class:`FileSystem`. Tests
replace it by one that fails the n-th operation, records operations for a power-loss model, or kills the
process; nothing else needs to know.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)
_BINARY = getattr(os, "O_BINARY", 0)


@dataclass(frozen=True, slots=True)
class Entry:
    """One name inside a directory; ``kind`` is "file", "directory" or "other" (links, pipes, devices)."""

    name: str
    kind: str


class NotARegularFile(OSError):
    """A link, pipe, device or directory stands where a plain file belongs."""


class FileSystem:
    """System calls by name. Methods raise :class:`OSError` and nothing else."""

    # -- changing ----------------------------------------------------------------------------------

    def mkdir(self, path: Path) -> None:
        """Create one directory; its parent exists, itself does not."""
        os.mkdir(path, 0o755)

    def create(self, path: Path) -> int:
        """Open a new file for writing; an existing file or link at ``path`` is an error."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CLOEXEC | _NOFOLLOW | _BINARY, 0o644)

    def open_append(self, path: Path) -> int:
        """Open a file for appending, creating it if missing."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | _CLOEXEC | _NOFOLLOW | _BINARY
        return os.open(path, flags, 0o644)

    def write(self, fd: int, data: memoryview) -> int:
        """Write some of ``data`` and return how many bytes were taken."""
        return os.write(fd, data)

    def truncate(self, fd: int, size: int) -> None:
        """Cut an open file to ``size`` bytes."""
        os.ftruncate(fd, size)

    def fsync(self, fd: int) -> None:
        """Return once the file's bytes are on stable storage."""
        if sys.platform == "darwin":  # fsync there stops at the drive's cache
            import fcntl

            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        else:
            os.fsync(fd)

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        os.close(fd)

    def sync_file(self, path: Path) -> None:
        """Bring a file that somebody else wrote (an agent's ``save_weights``) to stable storage."""
        fd = os.open(path, os.O_RDWR | _CLOEXEC | _NOFOLLOW | _BINARY)
        try:
            self.fsync(fd)
        finally:
            self.close(fd)

    def sync_directory(self, path: Path) -> None:
        """Bring the names in a directory to stable storage."""
        if sys.platform == "win32":  # directories cannot be opened there; NTFS journals names
            return
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _CLOEXEC)
        try:
            self.fsync(fd)
        finally:
            self.close(fd)

    def rename(self, source: Path, target: Path) -> None:
        """Atomically give a file or directory another name on the same file system, replacing a file there."""
        os.replace(source, target)

    def unlink(self, path: Path) -> None:
        """Remove a file or link."""
        os.unlink(path)

    def rmdir(self, path: Path) -> None:
        """Remove an empty directory."""
        os.rmdir(path)

    # -- looking -----------------------------------------------------------------------------------

    def entries(self, path: Path) -> list[Entry]:
        """What a directory holds, sorted by name; links are not followed."""
        found: list[Entry] = []
        with os.scandir(path) as scan:
            for item in scan:
                if item.is_dir(follow_symlinks=False):
                    kind = "directory"
                elif item.is_file(follow_symlinks=False):
                    kind = "file"
                else:
                    kind = "other"
                found.append(Entry(item.name, kind))
        return sorted(found, key=lambda entry: entry.name)

    def size(self, path: Path) -> int:
        """Bytes in a plain file.

        Raises:
            NotARegularFile: ``path`` is something else.
        """
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode):
            raise NotARegularFile(f"{path.name} is not a plain file")
        return status.st_size

    def stamp(self, path: Path) -> tuple[int, ...]:
        """Numbers that change when a file is replaced or written to."""
        status = os.lstat(path)
        return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def read(self, path: Path, limit: int) -> bytearray:
        """All bytes of a plain file that holds at most ``limit`` of them.

        Raises:
            NotARegularFile: ``path`` is a link, pipe, device or directory.
            OSError: It is larger than ``limit``, or unreadable.
        """
        # O_NONBLOCK: opening a pipe that somebody planted must not hang.
        fd = os.open(path, os.O_RDONLY | _CLOEXEC | _NOFOLLOW | _NONBLOCK | _BINARY)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise NotARegularFile(f"{path.name} is not a plain file")
            if status.st_size > limit:
                raise OSError(f"{path.name} has {status.st_size} bytes, more than the {limit} allowed here")
            buffer = bytearray(status.st_size)
            view, done = memoryview(buffer), 0
            while done < len(buffer):
                taken = os.readv(fd, [view[done:]]) if hasattr(os, "readv") else _read_into(fd, view[done:])
                if taken == 0:
                    raise OSError(f"{path.name} ended after {done} of {len(buffer)} bytes")
                done += taken
            return buffer
        finally:
            os.close(fd)

    def free_bytes(self, path: Path) -> int:
        """Bytes that can still be written to the file system of ``path``."""
        return shutil.disk_usage(path).free


def _read_into(fd: int, view: memoryview) -> int:
    data = os.read(fd, len(view))
    view[: len(data)] = data
    return len(data)


def write_all(fs: FileSystem, fd: int, data: bytes | bytearray | memoryview) -> None:
    """Write every byte, also when the system takes them in pieces."""
    view = memoryview(data)
    while view.nbytes:
        taken = fs.write(fd, view)
        if taken <= 0:
            raise OSError("the system accepted no more bytes")
        view = view[taken:]


def write_file(
    fs: FileSystem, path: Path, data: bytes | bytearray | memoryview, *, sync: bool = True
) -> None:
    """Create ``path`` with ``data``; with ``sync`` its bytes (not yet its name) are then on stable storage."""
    fd = fs.create(path)
    try:
        write_all(fs, fd, data)
        if sync:
            fs.fsync(fd)
    finally:
        fs.close(fd)


def remove_tree(fs: FileSystem, path: Path) -> None:
    """Remove a directory and all it holds; links are removed, never followed."""
    for entry in fs.entries(path):
        if entry.kind == "directory":
            remove_tree(fs, path / entry.name)
        else:
            fs.unlink(path / entry.name)
    fs.rmdir(path)
