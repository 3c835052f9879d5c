"""One writer per run directory, enforced by the kernel.

``flock`` on ``.lock`` is held while a run writes. The kernel releases it when the process dies, however it
dies, and keeps it while the process is merely stopped, so there is no guessing by age and nothing to clean
up. Readers need no lock.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
import weakref
from pathlib import Path
from types import TracebackType
from typing import Self

from optix_core.checkpoints.jsonio import JsonProblem, canonical, parse_object
from optix_core.errors import CheckpointLocked

LOCK_NAME = ".lock"

_held: weakref.WeakSet[RunLock] = weakref.WeakSet()
_hooked: list[bool] = []


class RunLock:
    """The writer's lock of one directory; entering it again in the same object only counts.

    Args:
        directory: The run directory, which exists.
        unsafe_no_lock: Take no lock where the file system cannot lock. Two writers then destroy each other's
            work without notice.
    """

    def __init__(self, directory: Path, *, unsafe_no_lock: bool = False) -> None:
        self._path = directory / LOCK_NAME
        self._unsafe = unsafe_no_lock
        self._fd: int | None = None
        self._depth = 0
        self._owner = 0

    @property
    def held(self) -> bool:
        """Whether this object holds the lock, in this process."""
        return self._depth > 0 and self._owner == os.getpid()

    def acquire(self) -> bool:
        """Take the lock, or count one more holder.

        Returns:
            True if it was not held before.

        Raises:
            CheckpointLocked: Somebody else holds it, this is a fork of the holder, or it cannot be had here
                at all.
        """
        if self._depth and self._owner != os.getpid():
            raise CheckpointLocked(
                f"{self._path.parent} is being written by the parent of this process (pid {self._owner}). A "
                "forked child must not write checkpoints; let the parent do it, or give the child a "
                "directory of its own."
            )
        if self._depth == 0:
            self._fd = self._lock()
            self._owner = os.getpid()
            _held.add(self)
            self._depth = 1
            return True
        self._depth += 1
        return False

    def release(self) -> None:
        """Undo one :meth:`acquire`."""
        if not self.held:
            return
        self._depth -= 1
        if self._depth == 0:
            _held.discard(self)
            if self._fd is not None:
                os.close(
                    self._fd
                )  # closing releases the lock; the file stays, removing it would race with others
                self._fd = None

    def drop_inherited(self) -> None:
        """In a forked child: let go of the descriptor, so that the lock ends with the parent."""
        if self._fd is not None and self._owner != os.getpid():
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _lock(self) -> int | None:
        try:
            import fcntl
        except ImportError:
            return self._without("this system has no flock")
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(self._path, flags, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            if error.errno in {errno.EWOULDBLOCK, errno.EACCES, errno.EAGAIN}:
                raise CheckpointLocked(self._message()) from None
            if error.errno in {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}:
                return self._without(f"its file system cannot lock ({error.strerror})")
            raise
        _close_in_forks()
        self._describe(fd)
        return fd

    def _without(self, why: str) -> None:
        if not self._unsafe:
            raise CheckpointLocked(
                f"Cannot lock {self._path.parent}: {why}. Without a lock a second writer would go "
                "unnoticed. Use a directory on a local file system, or unsafe_no_lock=True if you are sure "
                "that nothing else writes there."
            )

    def _describe(self, fd: int) -> None:
        """Write who holds the lock, for the other's message; the lock itself does not depend on it."""
        text = canonical({"pid": os.getpid(), "host": socket.gethostname(), "started": time.time()})
        try:
            os.ftruncate(fd, 0)
            os.write(fd, text)
        except OSError as error:  # a full disk must not stop a run that already has the lock
            if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EIO}:
                raise

    def _message(self) -> str:
        try:
            info = parse_object(self._path.read_bytes(), 4096)
            started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(info["started"])))
            holder = f"process {int(info['pid'])} on {str(info['host'])[:100]} since {started}"
        except (OSError, JsonProblem, KeyError, TypeError, ValueError, OverflowError):
            holder = "another process (it has not said which)"
        return (
            f"{self._path.parent} is being written by {holder}. Wait for it or stop it, or use another "
            "directory. Reading (optix eval, explain) needs no lock."
        )


def _close_in_forks() -> None:
    """A forked child shares the lock and would keep it after the parent's death: close it there."""
    if _hooked or sys.platform == "win32":
        return
    os.register_at_fork(after_in_child=_drop_inherited)
    _hooked.append(True)


def _drop_inherited() -> None:
    for lock in list(_held):
        lock.drop_inherited()
