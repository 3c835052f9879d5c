"""Actors on this machine: started, supplied with weights, listened to, replaced when they die, ended."""

from __future__ import annotations

import logging
import os
import select
import time
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from optix_distributed.backend import NEWEST, Counts, Filled
from optix_distributed.boot import Boot, in_memory, packed
from optix_distributed.local.guard import Guard
from optix_distributed.local.messages import FAILED, FILLED, READY, Report
from optix_distributed.local.process import ActorProcess
from optix_distributed.restarts import Restarts
from optix_distributed.shared.plan import HEARTBEAT, STEPS, SharedState
from optix_distributed.shared.region import SharedRegion
from optix_distributed.supervision import START_TIMEOUT_S, Limits, Seat, stats_of

logger = logging.getLogger("optix.distributed")

POLITE_S, FIRM_S = 2.0, 1.0
"""Seconds to end by itself, and after being asked to by a signal, before it is killed."""
SILENCE_S = 0.2
"""How often to look after the actors while nothing is reported."""


@dataclass(slots=True, kw_only=True)
class _Seat(Seat):
    process: ActorProcess | None = None


class LocalBackend:
    """Supervises ``plan.n_actors`` processes.

    Args:
        boot: What every actor is told.
        max_restarts: Replacements of one actor within ``restart_window_s``; more end the run.
        restart_window_s: Seconds.
        min_actors: Go on with so many actors when others are beyond their limit.
        actor_timeout_s: An actor that makes no step for so long is replaced; None: it may take for ever.
        on_env_error: ``"raise"``: an exception in an actor is raised here; ``"restart"``: it counts as a death.

    Raises:
        ConfigError: Something cannot be sent to the actors, or the system has no memfd.
        OSError: There is not enough memory.
    """

    def __init__(
        self,
        boot: Boot,
        *,
        max_restarts: int = 3,
        restart_window_s: float = 300.0,
        min_actors: int | None = None,
        actor_timeout_s: float | None = 300.0,
        on_env_error: Literal["raise", "restart"] = "raise",
    ) -> None:
        plan = boot.plan
        self.plan = plan
        self._limits = Limits.of(plan.n_actors, min_actors, on_env_error)
        self._timeout = actor_timeout_s
        data = packed(boot)
        self.counts = Counts()
        self.state = SharedState(plan, SharedRegion.create(plan.nbytes))
        self.state.weights.clear()
        self._views = [
            [self.state.slot(a, s) for s in range(plan.slots_per_actor)] for a in range(plan.n_actors)
        ]
        self._seats = [
            _Seat(actor_id=a, restarts=Restarts(max_restarts, restart_window_s)) for a in range(plan.n_actors)
        ]
        self._ready: deque[Filled] = deque()
        self._polling = select.poll()
        self._by_fd: dict[int, _Seat] = {}
        self.version = -1
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
        self._ready.clear()
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

    def grant_all(self) -> None:
        """Grant every slot that nobody has, with the newest weights."""
        taken = {(f.actor_id, f.slot) for f in self._ready}
        for seat in self._seats:
            for slot in range(self.plan.slots_per_actor):
                if slot not in seat.grants and (seat.actor_id, slot) not in taken:
                    self.grant(seat.actor_id, slot)

    def view(self, filled: Filled) -> dict[str, NDArray[Any]]:
        """The arrays of a filled slot; copy what is needed before it is granted again."""
        return self._views[filled.actor_id][filled.slot]

    def wait(
        self, enough: Callable[[deque[Filled]], bool], *, interrupted: Callable[[], bool] = lambda: False
    ) -> None:
        """Look after the actors until ``enough`` says that what is ready suffices.

        Raises:
            ActorError: An environment or a policy failed.
            ActorDiedError: An actor died too often.
        """
        self.poll(0.0)
        while not enough(self._ready) and not interrupted():
            self.poll(SILENCE_S)

    def take(self, n: int) -> list[Filled]:
        """The ``n`` trajectories that have been ready for longest."""
        return [self._ready.popleft() for _ in range(n)]

    @property
    def ready(self) -> deque[Filled]:
        """Trajectories that were reported and not yet taken."""
        return self._ready

    # ------------------------------------------------------------------ supervision

    def poll(self, timeout: float) -> None:
        """Hear what there is to hear, waiting at most ``timeout`` seconds, and replace who is dead or stuck."""
        self._respawn_due()
        for fd, _ in self._polling.poll(timeout * 1000.0):
            self._hear(self._by_fd[fd])
        self._look_for_the_stuck()

    def _spawn(self, seat: _Seat) -> None:
        assert self._held.guard is not None
        seat.incarnation += 1
        seat.respawn_at, seat.delivered = None, 0
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
        del seat.grants[report.slot]
        seat.delivered += report.steps
        self.counts.delivered += report.steps
        self._ready.append(Filled(seat.actor_id, report.slot, report.version, seat.sequence, report.steps))
        seat.sequence += 1

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
        self._limits.after_death(
            seat, self._seats, ending=ending, failure=failure, why=failure or output, stuck=stuck
        )

    def _bury(self, seat: _Seat) -> None:
        process = seat.process
        assert process is not None
        stats = self.state.stats[seat.actor_id]
        self.counts.lost += int(stats[STEPS]) - seat.delivered
        seat.past += stats
        stats[:] = 0
        self._polling.unregister(process.inbox.fd)
        del self._by_fd[process.inbox.fd]
        process.close()
        self._held.processes.discard(process)
        seat.process = None

    def _respawn_due(self) -> None:
        now = time.monotonic()
        for seat in self._seats:
            if seat.respawn_at is not None and now >= seat.respawn_at:
                self._spawn(seat)

    def _look_for_the_stuck(self) -> None:
        if self._timeout is None:
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
                silent, limit = now - max(beat, process.busy_since), self._timeout
            else:
                silent, limit = now - process.started, max(START_TIMEOUT_S, self._timeout)
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

    def stats(self) -> dict[str, Any]:
        """Counters so far: steps by what became of them, restarts, queue depth, and rates per actor."""
        alive = sum(seat.process is not None for seat in self._seats)
        return stats_of(
            self.totals(), self._seats, lost=self.counts.lost, queue_depth=len(self._ready), alive=alive
        )

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
