"""Looks at actors on a cluster: what they have done so far, and who is stuck."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayError

from optix_distributed.on_ray.actor import LOOK
from optix_distributed.on_ray.lives import Life, RaySeat
from optix_distributed.supervision import START_TIMEOUT_S

logger = logging.getLogger("optix.distributed")

LOOK_S = 1.0
"""Seconds between two looks at an actor: what is known of its steps if it dies is at most so old."""
STACK_S = 1.0
"""How long a stuck actor may take to say where it is."""
ROOM_S = 30.0
"""How often to say that an actor waits for room."""


@dataclass(frozen=True, slots=True)
class Stuck:
    """An actor that does nothing.

    Attributes:
        ending: What became of it, in words that follow its name.
        why: What is known of the reason.
    """

    ending: str
    why: str


class Looks:
    """Asks every actor now and then what it has done, by a thread of its own that answers while it works.

    Args:
        seats: Whose.
        timeout_s: So long may an actor make no step; None: for ever.
    """

    def __init__(self, seats: Sequence[RaySeat], timeout_s: float | None) -> None:
        self._seats, self._timeout = seats, timeout_s

    def ask(self) -> list[tuple[RaySeat, Life]]:
        """Ask whoever is due; their answers are heard with all others (``life.looking`` is the call)."""
        now, asked = time.monotonic(), list[tuple[RaySeat, Life]]()
        for seat, life in self._lives():
            if life.looking is None and now >= life.look_at:
                life.looking, life.look_at = self._look(life), now
                asked.append((seat, life))
        return asked

    def heard(self, seat: RaySeat, life: Life, answer: dict[str, Any]) -> Stuck | None:
        """Enter what an actor told of itself; it is stuck if it has made no step for too long."""
        life.looking, life.look_at = None, time.monotonic() + LOOK_S
        life.stats[:] = np.maximum(life.stats, answer["stats"])
        silent = float(answer["silent"])
        if self._timeout is None or silent <= self._limit(self._timeout, life):
            return None
        stack = self._stack(life)
        logger.warning(
            "actor %d has made no step for %.1f s; it is replaced. It was here:\n%s",
            seat.actor_id,
            silent,
            stack,
        )
        return Stuck("was ended by SIGKILL", f"no step for {silent:.1f} s; it was here:\n{stack}")

    def unanswered(self) -> list[tuple[RaySeat, Life, Stuck]]:
        """Who does not even answer a look: not yet placed, or stuck where no other thread runs."""
        now, found = time.monotonic(), list[tuple[RaySeat, Life, Stuck]]()
        for seat, life in self._lives():
            if life.seen is None:
                self._tell_of_room(seat, life, now)
            elif self._timeout is not None and life.looking is not None:
                silent = now - max(life.seen, life.look_at)
                if silent > self._limit(self._timeout, life):
                    why = "it is stuck where no other thread of its process can run"
                    found.append((seat, life, Stuck(f"has not answered for {silent:.1f} s", why)))
        return found

    def _lives(self) -> Iterator[tuple[RaySeat, Life]]:
        return ((seat, seat.life) for seat in self._seats if seat.life is not None)

    @staticmethod
    def _limit(timeout: float, life: Life) -> float:
        return timeout if life.ready else max(timeout, START_TIMEOUT_S)

    @staticmethod
    def _look(life: Life, **what: bool) -> Any:
        return life.handle.look.options(concurrency_group=LOOK).remote(**what)

    def _stack(self, life: Life) -> str:
        try:
            answer: Any = ray.get(self._look(life, stack=True), timeout=STACK_S)
        except RayError as error:
            return f"(it did not say where: {type(error).__name__})"
        return str(answer["stack"])

    @staticmethod
    def _tell_of_room(seat: RaySeat, life: Life, now: float) -> None:
        if now - life.told_of >= ROOM_S:
            life.told_of = now
            waited = now - life.began
            logger.warning("actor %d has waited for %.0f s for room on the cluster", seat.actor_id, waited)
