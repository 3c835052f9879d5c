"""A connection to Ray that ends what it began and nothing else.

Ray that the program has initialised is used as it is and left as it is. A cluster of somebody else is joined and left.
A cluster that is started here, for want of one, belongs to this process: it lies in a folder of its own, and a watcher
removes that folder and whatever still works in it, also if this process is killed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import ray

from optix_core.errors import ConfigError

ATTEMPTS = 3
"""How often to try to start a cluster: its own parts give up on each other on a machine that is too busy."""
LEAST_STORE = 80 * 2**20
"""Bytes of an object store, of which Ray wants 75 MiB at least."""
LONGEST_SOCKET, LONGEST_PATH = 62, 107
"""Characters of a socket's path below the folder, and those that the system allows in all."""
SHORT_PLACE = "/tmp"  # noqa: S108 - mkdtemp makes a folder there that nobody else may enter

_WATCHER = """
import os, shutil, signal, sys, time
folder = sys.argv[1]
sys.stdin.buffer.read()
def inside():
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdigit() and int(name) != os.getpid():
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    if folder.encode() in file.read():
                        yield int(name)
            except OSError:
                pass
until = time.monotonic() + 5
while time.monotonic() < until and any(inside()):
    time.sleep(0.05)
for pid in inside():
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass
while any(inside()) and time.monotonic() < until + 5:
    time.sleep(0.05)
shutil.rmtree(folder, ignore_errors=True)
"""


class _Connection:
    """This process's connection to Ray, made here; shared by all sessions."""

    def __init__(self, folder: str | None, watcher: subprocess.Popen[bytes] | None) -> None:
        self.folder, self.watcher, self.users = folder, watcher, 0
        self._name = _name()

    @property
    def is_up(self) -> bool:
        """Whether it is still this one: somebody may have ended it, and made another one."""
        return ray.is_initialized() and _name() == self._name

    def end(self) -> None:
        if self.is_up:
            ray.shutdown()
        if self.watcher is not None and self.folder is not None:
            _dismiss(self.watcher, self.folder)


_lock = threading.RLock()
_present: list[_Connection] = []
"""The connection that was made here, if there is one."""
_token = secrets.token_hex(32)


class RaySession:
    """Use of Ray until :meth:`close`; the last session of a connection that was made here ends it."""

    def __init__(self, connection: _Connection | None) -> None:
        self._connection = connection
        self._closed, self._name = False, _name()

    @property
    def is_up(self) -> bool:
        """Whether Ray is still connected as it was; somebody may have ended that, and made another connection."""
        return ray.is_initialized() and _name() == self._name

    @property
    def is_ours(self) -> bool:
        """Whether the cluster was started here."""
        return self._connection is not None and self._connection.folder is not None

    def close(self) -> None:
        """Give the connection up. Safe to call twice."""
        with _lock:
            if self._closed:
                return
            self._closed = True
            if self._connection is None:
                return
            self._connection.users -= 1
            if self._connection.users == 0:
                if self._connection in _present:
                    _present.remove(self._connection)
                self._connection.end()


def connect(address: str | None, *, cpus: float, store_bytes: int = 0) -> RaySession:
    """A session with the cluster at ``address``.

    Args:
        address: ``"auto"`` or ``"HOST:PORT"``. None: what this process is connected to already, else the cluster that
            ``RAY_ADDRESS`` names, else one that is started here.
        cpus: How many a cluster started here has at least.
        store_bytes: What its object store has to hold.

    Raises:
        ConfigError: The cluster cannot be reached or started, or this process is connected to another one.
    """
    if address is not None and address.startswith("ray://"):
        raise ConfigError(
            f"address {address!r} is that of a Ray client's server; the learner has to run on a machine of the "
            "cluster. Start it there with address='auto'"
        )
    with _lock:
        if _present and not _present[0].is_up:
            _present.clear()
        if ray.is_initialized():
            _check_same(address)
        else:
            wanted = address or os.environ.get("RAY_ADDRESS") or "local"
            _present.append(_started(cpus, store_bytes) if wanted == "local" else _joined(wanted))
        for connection in _present:
            connection.users += 1
            return RaySession(connection)
        return RaySession(None)


def _name() -> tuple[str, str]:
    """Of the present connection; no two have the same."""
    here = ray.get_runtime_context()
    return str(here.gcs_address), here.get_job_id()


def _check_same(address: str | None) -> None:
    here = str(ray.get_runtime_context().gcs_address)
    if address not in {None, "auto", here}:
        raise ConfigError(
            f"address is {address!r}, but this process is connected to the Ray cluster at {here} already; leave "
            "address away to use that one, or call ray.shutdown() first"
        )


def _joined(address: str) -> _Connection:
    try:
        with _handlers_kept():
            ray.init(address=address, logging_level=logging.WARNING, log_to_driver=False)
    except Exception as error:
        raise ConfigError(f"the Ray cluster at {address!r} cannot be reached: {error}") from error
    return _Connection(None, None)


def _started(cpus: float, store_bytes: int) -> _Connection:
    from optix_distributed.runner import usable_cores

    failures: list[str] = []
    for _ in range(ATTEMPTS):
        folder = _folder()
        watcher = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _WATCHER, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )
        try:
            with _handlers_kept(), _environment(_private_settings()), _quietly():
                ray.init(
                    address="local",
                    num_cpus=max(usable_cores(), int(-(-cpus // 1))),
                    object_store_memory=LEAST_STORE + store_bytes,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    _temp_dir=folder,
                )
            return _Connection(folder, watcher)
        except BaseException as error:
            with contextlib.suppress(Exception):
                ray.shutdown()
            _dismiss(watcher, folder)
            if not isinstance(error, Exception):
                raise
            failures.append(f"{type(error).__name__}: {error}")
    raise ConfigError(f"no Ray cluster could be started here, in {ATTEMPTS} attempts: {failures[-1]}")


def _private_settings() -> dict[str, str]:
    """Nothing is told to Ray's makers, and who does not know this process's secret is kept out."""
    found = {"RAY_USAGE_STATS_ENABLED": "0"}
    if not any(name in os.environ for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        found["RAY_AUTH_TOKEN"] = _token  # else Ray writes one into the user's home
    return found


def _folder() -> str:
    found = tempfile.mkdtemp(prefix="oxray-")
    if len(found) + LONGEST_SOCKET > LONGEST_PATH and Path(SHORT_PLACE).is_dir():
        Path(found).rmdir()
        found = tempfile.mkdtemp(prefix="oxray-", dir=SHORT_PLACE)
    return found


def _dismiss(watcher: subprocess.Popen[Any], folder: str) -> None:
    """Let the watcher clean up, and wait for that."""
    watcher.communicate()
    shutil.rmtree(folder, ignore_errors=True)  # if somebody has killed the watcher


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Generator[None, None, None]:
    before = {name: os.environ.get(name) for name in (*variables, "RAY_AUTH_MODE")}  # which Ray sets itself
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _quietly() -> Generator[None, None, None]:
    """Ray explains itself before it looks at the level that it is given."""
    told = logging.getLogger("ray")
    before = told.level
    told.setLevel(logging.ERROR)
    try:
        yield
    finally:
        told.setLevel(before)


@contextlib.contextmanager
def _handlers_kept() -> Generator[None, None, None]:
    """Ray takes SIGTERM for itself when it is initialised; whoever had it before keeps it."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and before is not None:
            signal.signal(signal.SIGTERM, before)
