"""What every supervisor of living actors keeps: their seats, what is granted and ready, and what was counted.

How an actor is started, asked and heard is for the subclass to say: by pipes and shared memory on this machine, by
calls on a cluster.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from optix_distributed.backend import NEWEST, Counts, Filled
from optix_distributed.shared.plan import STEPS, MemoryPlan
from optix_distributed.supervision import Limits, Seat, stats_of

SILENCE_S = 0.2
"""How often to look after the actors while nothing is reported."""

SeatT = TypeVar("SeatT", bound=Seat)


class SupervisedBackend(ABC, Generic[SeatT]):
    """The common part of backends whose actors can die.

    Args:
        plan: Shapes, and how many of what.
        limits: What supervision allows.
        seats: Of every actor, by its number.

    Attributes:
        version: Of the weights that were published last; -1 before.
        ready: Trajectories that have arrived and were not yet taken.
        counts: Steps by what became of them.
    """

    def __init__(self, plan: MemoryPlan, limits: Limits, seats: list[SeatT]) -> None:
        self.plan, self.limits = plan, limits
        self.version = -1
        self.ready: deque[Filled] = deque()
        self.counts = Counts()
        self._seats = seats

    @property
    @abstractmethod
    def pids(self) -> list[int]:
        """Process ids of the actors that run, each on its machine."""

    @abstractmethod
    def grant(self, actor_id: int, slot: int, version: int = NEWEST) -> None:
        """Let an actor fill one of its slots, with the newest weights or those of a version."""

    @abstractmethod
    def poll(self, timeout: float) -> None:
        """Hear what there is to hear, waiting at most ``timeout`` seconds, and replace who is dead or stuck."""

    @abstractmethod
    def totals(self) -> NDArray[np.int64]:
        """Per actor and over all its lives, ``[A, 8]``; see ``optix_distributed.shared.plan.STATS``."""

    @abstractmethod
    def _spawn(self, seat: SeatT) -> None:
        """Begin the next life on a seat; calls :meth:`_begin`."""

    # ------------------------------------------------------------------ slots

    def grant_all(self) -> None:
        """Grant every slot that nobody has, with the newest weights."""
        taken = {(filled.actor_id, filled.slot) for filled in self.ready}
        for seat in self._seats:
            for slot in range(self.plan.slots_per_actor):
                if slot not in seat.grants and (seat.actor_id, slot) not in taken:
                    self.grant(seat.actor_id, slot)

    def wait(
        self, enough: Callable[[deque[Filled]], bool], *, interrupted: Callable[[], bool] = lambda: False
    ) -> None:
        """Look after the actors until ``enough`` says that what is ready suffices.

        Raises:
            ActorError: An environment or a policy failed.
            ActorDiedError: An actor died too often.
        """
        self.poll(0.0)
        while not enough(self.ready) and not interrupted():
            self.poll(SILENCE_S)

    def take(self, n: int) -> list[Filled]:
        """The ``n`` trajectories that have been ready for longest."""
        return [self.ready.popleft() for _ in range(n)]

    def _delivered(self, seat: SeatT, slot: int, *, version: int, steps: int) -> None:
        """A slot came back filled."""
        del seat.grants[slot]
        seat.delivered += steps
        self.counts.delivered += steps
        self.ready.append(Filled(seat.actor_id, slot, version, seat.sequence, steps))
        seat.sequence += 1

    # ------------------------------------------------------------------ lives

    def _begin(self, seat: SeatT) -> None:
        """Count another life."""
        seat.incarnation += 1
        seat.respawn_at, seat.delivered = None, 0

    def _end(self, seat: SeatT, stats: NDArray[np.int64]) -> None:
        """Enter the numbers of a life that is over: what it made and did not deliver is lost."""
        self.counts.lost += max(0, int(stats[STEPS]) - seat.delivered)
        seat.past += stats

    def _respawn_due(self) -> None:
        now = time.monotonic()
        for seat in self._seats:
            if seat.respawn_at is not None and now >= seat.respawn_at:
                self._spawn(seat)

    def stats(self) -> dict[str, Any]:
        """Counters so far: steps by what became of them, restarts, queue depth, and rates per actor."""
        return stats_of(
            self.totals(),
            self._seats,
            lost=self.counts.lost,
            queue_depth=len(self.ready),
            alive=len(self.pids),
        )
