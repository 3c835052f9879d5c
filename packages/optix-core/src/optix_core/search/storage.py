"""Where the trials of a study are kept, so that several processes can work on it and any of them may be killed.

``None`` is memory, ``"journal:FILE"`` a file to which every change is appended, and any other text a database URL such
as ``"sqlite:///trials.db"``. An object of Optuna is taken as it is.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import optuna
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalFileSymlinkLock

from optix_core.errors import ConfigError

JOURNAL = "journal:"
BUSY_SECONDS = 60


def open_storage(storage: Any) -> optuna.storages.BaseStorage:
    """The storage that ``storage`` describes.

    Raises:
        ConfigError: It cannot be opened, or is neither text nor a storage.
    """
    if storage is None:
        return optuna.storages.InMemoryStorage()
    if isinstance(storage, optuna.storages.BaseStorage):
        return optuna.storages.get_storage(storage)
    if not isinstance(storage, str | Path):
        raise ConfigError(
            f"storage is {type(storage).__name__}; it must be a URL such as 'sqlite:///trials.db', 'journal:FILE', an "
            "Optuna storage, or None for memory"
        )
    text = str(storage)
    try:
        if text.startswith(JOURNAL):
            return _journal(text[len(JOURNAL) :])
        if "://" not in text:
            raise ConfigError(
                f"storage {text!r} is no URL; write 'sqlite:///{text}' or '{JOURNAL}{text}' for a file of that name"
            )
        return optuna.storages.get_storage(_database(text))
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"storage {text!r} cannot be opened: {error}") from error


def _database(url: str) -> optuna.storages.RDBStorage:
    if not url.startswith("sqlite"):
        return optuna.storages.RDBStorage(url)
    from sqlalchemy.pool import NullPool

    _make_folder(url.partition(":///")[2])
    # no connection outlives a transaction: nothing to leak, and nothing that keeps the file locked
    options = {"poolclass": NullPool, "connect_args": {"timeout": BUSY_SECONDS}}
    return optuna.storages.RDBStorage(url, engine_kwargs=options)


def _journal(name: str) -> optuna.storages.JournalStorage:
    if not name.strip("/"):
        raise ConfigError(
            f"storage {JOURNAL + name!r} names no file; write for example '{JOURNAL}trials.log'"
        )
    path = name[2:] if name.startswith("///") else name
    _make_folder(path)
    return optuna.storages.JournalStorage(JournalFileBackend(path, lock_obj=_lock(path)))


def _make_folder(path: str) -> None:
    if path and not path.startswith(":"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)


def _lock(path: str) -> JournalFileOpenLock | JournalFileSymlinkLock:
    has_flock = importlib.util.find_spec("fcntl") is not None
    return RepairingLock(path) if has_flock else JournalFileSymlinkLock(path)


class RepairingLock(JournalFileOpenLock):
    """A lock that the system releases when its holder dies, and that leaves no half line for the next writer.

    A process killed while it appends leaves a torn last line; appending behind it would make the journal unreadable
    for good. Whoever gets the lock next therefore cuts the torn line off, as nobody has acted on it.

    Args:
        path: The journal. The lock is a file of that name with ``.flock`` behind it.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path, grace_period=None)
        self._path = path
        self._fd: int | None = None

    def acquire(self) -> bool:
        """Wait for the lock, then repair the journal's end."""
        import fcntl

        fd = os.open(f"{self._path}.flock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            repair_tail(Path(self._path))
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        return True

    def release(self) -> None:
        """Give the lock back."""
        fd, self._fd = self._fd, None
        if fd is None:
            raise RuntimeError("the journal's lock is not held")
        os.close(fd)


def repair_tail(path: Path) -> int:
    """Cut off what follows the last line end, and return how many bytes that were. Call it with the lock held."""
    try:
        with path.open("r+b") as file:
            end = file.seek(0, os.SEEK_END)
            keep, block = end, 4096
            while keep > 0:
                start = max(0, keep - block)
                file.seek(start)
                newline = file.read(keep - start).rfind(b"\n")
                if newline >= 0:
                    keep = start + newline + 1
                    break
                keep = start
            if keep < end:
                file.truncate(keep)
                file.flush()
                os.fsync(file.fileno())
            return end - keep
    except FileNotFoundError:
        return 0


@contextlib.contextmanager
def optuna_says(level: int) -> Generator[None, None, None]:
    """Let Optuna log from ``level`` on, and put its own setting back afterwards."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(level)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def wait(seconds: float) -> None:
    """Sleep; a function of its own so that tests can hurry."""
    time.sleep(seconds)
