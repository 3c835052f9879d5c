"""Actors on this machine: started, supplied with weights, listened to, replaced when they die, ended."""

from __future__ import annotations

import logging
import os
import select
import time
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_distributed.backend import NEWEST, Filled
from optix_distributed.boot import Boot, in_memory, packed
from optix_distributed.local.guard import Guard
from optix_distributed.local.messages import FAILED, FILLED, READY, Report
from optix_distributed.local.process import ActorProcess
from optix_distributed.shared.plan import HEARTBEAT, SharedState
from optix_distributed.shared.region import SharedRegion
from optix_distributed.supervised import SupervisedBackend
from optix_distributed.supervision import START_TIMEOUT_S, Limits, Seat

logger = logging.getLogger("optix.distributed")

POLITE_S, FIRM_S = 2.0, 1.0
"""Seconds to end by itself, and after being asked to by a signal, before it is killed."""


@dataclass(slots=True, kw_only=True)
class _Seat(Seat):
    process: ActorProcess | None = None


class LocalBackend(SupervisedBackend[_Seat]):
    """Supervises ``plan.n_actors`` processes.

    Args:
        boot: What every actor is told.
        limits: What supervision allows.

    Raises:
        ConfigError: Something cannot be sent to the actors, or the system has no memfd.
        OSError: There is not enough memory.
    """

    def __init__(self, boot: Boot, limits: Limits) -> None:
        plan = boot.plan
        super().__init__(
            plan, limits, [_Seat(actor_id=a, restarts=limits.restarts()) for a in range(plan.n_actors)]
        )
        data = packed(boot)
        self.state = SharedState(plan, SharedRegion.create(plan.nbytes))
        self.state.weights.clear()
        self._views = [
            [self.state.slot(a, s) for s in range(plan.slots_per_actor)] for a in range(plan.n_actors)
        ]
        self._polling = select.poll()
        self._by_fd: dict[int, _Seat] = {}
        self._held = _Held(in_memory(data))
        # also when this process ends without close(), or this object is forgotten
        self._finalizer = weakref.finalize(self, _release, self._held)

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        """Start all actors; weights must have been published. They report when they have something."""
        if self._held.guard is None:
            self._held.guard = Guard()
        for seat in self._seats:
            if seat.process is None:
                self._spawn(seat)

    def close(self) -> None:
        """End all actors and give everything back; safe to call twice."""
        if not self._finalizer.alive:
            return
        self.state.control[0] = 1
        running = [seat.process for seat in self._seats if seat.process is not None]
        for process in running:
            process.hang_up()
        _wait_all(running, POLITE_S)
        left = [process for process in running if not process.wait(0)]
        for process in left:
            process.kill(15)
        _wait_all(left, FIRM_S)
        self._views = []
        self.ready.clear()
        self.state.close()
        self._finalizer()

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return not self._finalizer.alive

    # ------------------------------------------------------------------ weights and slots

    def publish(self, payload: NDArray[np.uint8]) -> int:
        """Give the actors new weights; returns their version."""
        self.version += 1
        self.state.weights.publish(payload, self.version)
        return self.version

    def grant(self, actor_id: int, slot: int, version: int = NEWEST) -> None:
        """Let an actor fill one of its slots, with the newest weights or those of a version."""
        seat = self._seats[actor_id]
        seat.grants[slot] = version
        if seat.process is not None and seat.process.ready:
            seat.process.grant(slot, version)

    def view(self, filled: Filled) -> dict[str, NDArray[Any]]:
        """The arrays of a filled slot; copy what is needed before it is granted again."""
        return self._views[filled.actor_id][filled.slot]

    # ------------------------------------------------------------------ supervision

    def poll(self, timeout: float) -> None:
        """Hear what there is to hear, waiting at most ``timeout`` seconds, and replace who is dead or stuck."""
        self._respawn_due()
        for fd, _ in self._polling.poll(timeout * 1000.0):
            self._hear(self._by_fd[fd])
        self._look_for_the_stuck()

    def _spawn(self, seat: _Seat) -> None:
        assert self._held.guard is not None
        self._begin(seat)
        self.state.stats[seat.actor_id] = 0
        process = ActorProcess(
            seat.actor_id, seat.incarnation, self.state.region.fd, self._held.boot, self._held.guard
        )
        seat.process = process
        self._held.processes.add(process)
        self._by_fd[process.inbox.fd] = seat
        self._polling.register(process.inbox.fd, select.POLLIN)

    def _hear(self, seat: _Seat) -> None:
        process = seat.process
        assert process is not None
        failure = ""
        for report in process.inbox.read():
            if report.kind == READY:
                process.ready = True
                for slot, version in seat.grants.items():
                    process.grant(slot, version)
            elif report.kind == FILLED:
                self._filled(seat, report)
            elif report.kind == FAILED:
                failure = report.text
        if process.inbox.ended or failure:
            self._died(seat, failure)

    def _filled(self, seat: _Seat, report: Report) -> None:
        assert seat.process is not None
        seat.process.busy_since = time.monotonic()
        self._delivered(seat, report.slot, version=report.version, steps=report.steps)

    def _died(self, seat: _Seat, failure: str, *, stuck: bool = False) -> None:
        """Bury an actor; replace it, go on without it, or raise."""
        process = seat.process
        assert process is not None
        if not failure:
            process.wait(1.0)
        elif not process.wait(1.0):
            process.kill()
            process.wait(1.0)
        ending, output = process.ending(), process.output().strip()
        self._bury(seat)
        self.limits.after_death(
            seat, self._seats, ending=ending, failure=failure, why=failure or output, stuck=stuck
        )

    def _bury(self, seat: _Seat) -> None:
        process = seat.process
        assert process is not None
        stats = self.state.stats[seat.actor_id]
        self._end(seat, stats)
        stats[:] = 0
        self._polling.unregister(process.inbox.fd)
        del self._by_fd[process.inbox.fd]
        process.close()
        self._held.processes.discard(process)
        seat.process = None

    def _look_for_the_stuck(self) -> None:
        timeout = self.limits.actor_timeout_s
        if timeout is None:
            return
        now = time.monotonic()
        for seat in self._seats:
            process = seat.process
            if process is None:
                continue
            if process.ready:
                if not seat.grants:
                    continue
                beat = self.state.stats[seat.actor_id][HEARTBEAT] * 1e-9
                silent, limit = now - max(beat, process.busy_since), timeout
            else:
                silent, limit = now - process.started, max(START_TIMEOUT_S, timeout)
            if silent > limit:
                stack = process.stack()
                logger.warning(
                    "actor %d has made no step for %.1f s; it is replaced. It was here:\n%s",
                    seat.actor_id, silent, stack,
                )  # fmt: skip
                process.kill()
                self._died(seat, f"no step for {silent:.1f} s; it was here:\n{stack}", stuck=True)

    # ------------------------------------------------------------------ numbers

    def totals(self) -> NDArray[np.int64]:
        """Per actor and over all its lives, ``[A, 8]``; see ``optix_distributed.shared.plan.STATS``."""
        return np.stack([seat.past + self.state.stats[seat.actor_id] for seat in self._seats])

    @property
    def pids(self) -> list[int]:
        """Process ids of the actors that run; each is also a process group."""
        return [seat.process.pid for seat in self._seats if seat.process is not None]


class _Held:
    """What must be given back even if nobody says so."""

    def __init__(self, boot: int) -> None:
        self.boot, self.owner = boot, os.getpid()
        self.guard: Guard | None = None
        self.processes: set[ActorProcess] = set()


def _release(held: _Held) -> None:
    if os.getpid() != held.owner:  # a fork of the learner has no actors
        return
    for process in held.processes:
        process.close()
    held.processes.clear()
    if held.guard is not None:
        held.guard.close()
    os.close(held.boot)


def _wait_all(processes: list[ActorProcess], seconds: float) -> None:
    until = time.monotonic() + seconds
    for process in processes:
        process.wait(until - time.monotonic())
