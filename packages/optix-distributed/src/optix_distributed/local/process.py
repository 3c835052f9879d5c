"""One actor's process as the learner holds it: started, talked to, ended."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time

from optix_distributed.local.guard import Guard
from optix_distributed.local.messages import GRANT, Inbox

OUTPUT_KEPT = 65_536
"""Bytes of an actor's output that are kept; it is shown when the actor fails."""
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class ActorProcess:
    """A running actor.

    Args:
        actor_id: Which actor.
        incarnation: How often it was replaced before.
        memory: Descriptor of the shared memory.
        boot: Descriptor of what it is told, see :mod:`optix_distributed.boot`.
        guard: Learns its process group.

    Attributes:
        inbox: What it reports.
        started: ``time.monotonic()`` of its start.
        ready: It has made its environments.
        busy_since: When it last had something to do, ``time.monotonic()``.
    """

    def __init__(self, actor_id: int, incarnation: int, memory: int, boot: int, guard: Guard) -> None:
        self.actor_id, self.incarnation = actor_id, incarnation
        self._guard, self._closed = guard, False
        grants_read, self._grants = os.pipe()
        reports, reports_write = os.pipe()
        self._log = os.memfd_create("optix-actor-output", os.MFD_CLOEXEC)
        fcntl.fcntl(self._log, fcntl.F_SETFL, fcntl.fcntl(self._log, fcntl.F_GETFL) | os.O_APPEND)
        given = (grants_read, reports_write, memory, boot)
        numbers = (os.getpid(), actor_id, incarnation, *given)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "optix_distributed._actor", *map(str, numbers)],
                pass_fds=given,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                process_group=0,
                env={**os.environ, **dict.fromkeys(_ONE_THREAD, "1")},
            )
        except BaseException:
            for fd in (self._grants, reports, self._log):
                os.close(fd)
            raise
        finally:
            os.close(grants_read)
            os.close(reports_write)
        self.pid = self._process.pid
        guard.watch(self.pid)
        os.set_blocking(reports, False)
        self.inbox = Inbox(reports)
        self.ready = False
        self.started = self.busy_since = time.monotonic()

    def grant(self, slot: int, version: int) -> None:
        """Let it fill a slot."""
        self.busy_since = time.monotonic()
        with contextlib.suppress(BrokenPipeError):  # its death is noticed where reports are read
            os.write(self._grants, GRANT.pack(slot, version))

    def stack(self) -> str:
        """Where it is, thread by thread, as the interpreter itself can tell while it is stuck."""
        size = os.fstat(self._log).st_size
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGUSR1)
        until = time.monotonic() + 1.0
        while time.monotonic() < until and os.fstat(self._log).st_size == size:
            time.sleep(0.01)
        time.sleep(0.02)
        return os.pread(self._log, OUTPUT_KEPT, size).decode("utf-8", "replace")

    def output(self) -> str:
        """The end of what it and its environments have printed."""
        size = os.fstat(self._log).st_size
        return os.pread(self._log, OUTPUT_KEPT, max(0, size - OUTPUT_KEPT)).decode("utf-8", "replace")

    def trim(self) -> None:
        """Forget output if there is very much of it."""
        if os.fstat(self._log).st_size > 16 * OUTPUT_KEPT:
            os.ftruncate(self._log, 0)

    def hang_up(self) -> None:
        """Close the pipe it waits on: it ends as soon as it notices."""
        if self._grants >= 0:
            os.close(self._grants)
            self._grants = -1

    def kill(self, how: int = signal.SIGKILL) -> None:
        """Signal it and everything it has started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, how)

    def wait(self, timeout: float) -> bool:
        """Whether it has ended within so many seconds."""
        try:
            self._process.wait(max(timeout, 0.0))
        except subprocess.TimeoutExpired:
            return False
        return True

    def ending(self) -> str:
        """How it ended, in words."""
        code = self._process.returncode
        if code is None:
            return "is still there"
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"was ended by {signal.Signals(-code).name}"
        return f"ended with status {code}"

    def close(self) -> None:
        """Kill what is left of it and give its descriptors back. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self.hang_up()
        self.kill()
        self._process.wait()
        self._guard.forget(self.pid)
        os.close(self.inbox.fd)
        os.close(self._log)
