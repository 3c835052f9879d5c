"""What becomes of an actor that died: a replacement, going on without it, or an error; wherever it ran."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from optix_core.errors import ConfigError
from optix_distributed.errors import ActorDiedError, ActorError
from optix_distributed.restarts import Restarts
from optix_distributed.settings import CollectionSettings
from optix_distributed.shared.plan import CPU, ENV_ERRORS, EPISODES, NONFINITE, STATS, STEPS

logger = logging.getLogger("optix.distributed")

START_TIMEOUT_S = 60.0
"""An actor that has not made its environments after so long is stuck."""
OnEnvError = Literal["raise", "restart"]


@dataclass(slots=True, kw_only=True)
class Seat:
    """An actor's place, whoever sits on it.

    Attributes:
        actor_id: Which actor.
        restarts: How often it was replaced, and may be.
        grants: Slot to version, in the order in which they were given.
        incarnation: Of the present or last life, from 0.
        respawn_at: ``time.monotonic()`` of its next life; None: it has one, or will have none.
        delivered: Steps reported in the present life.
        sequence: Trajectories reported in all lives.
        past: Numbers of former lives, see ``optix_distributed.shared.plan.STATS``.
        gone: It is beyond its limit.
    """

    actor_id: int
    restarts: Restarts
    grants: dict[int, int] = field(default_factory=dict[int, int])
    incarnation: int = -1
    respawn_at: float | None = None
    delivered: int = 0
    sequence: int = 0
    past: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(STATS), np.int64))
    gone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What supervision allows.

    Attributes:
        min_actors: Go on with so many actors when others are beyond their limit.
        max_restarts: Replacements of one actor within ``restart_window_s``; more end the run.
        restart_window_s: Seconds.
        actor_timeout_s: An actor that makes no step for so long is replaced; None: it may take for ever.
        on_env_error: ``"raise"``: an exception in an actor is raised by the learner; ``"restart"``: it counts as a
            death.
    """

    min_actors: int
    max_restarts: int
    restart_window_s: float
    actor_timeout_s: float | None
    on_env_error: OnEnvError

    @classmethod
    def of(cls, settings: CollectionSettings) -> Limits:
        """Those of a collection.

        Raises:
            ConfigError: ``min_actors`` is out of its range.
        """
        least, most = settings.min_actors, settings.n_actors
        if least is not None and not 1 <= least <= most:
            raise ConfigError(f"min_actors is {least}; it must be between 1 and n_actors, {most}")
        return cls(
            min_actors=most if least is None else least,
            max_restarts=settings.max_restarts,
            restart_window_s=settings.restart_window_s,
            actor_timeout_s=settings.actor_timeout_s,
            on_env_error=settings.on_env_error,
        )

    def restarts(self) -> Restarts:
        """Of one actor, so far none."""
        return Restarts(self.max_restarts, self.restart_window_s)

    def after_death(
        self, seat: Seat, seats: Sequence[Seat], *, ending: str, failure: str, why: str, stuck: bool = False
    ) -> None:
        """Decide what follows the death of ``seat``, which is empty already.

        Args:
            seat: Whose.
            seats: All.
            ending: How it ended, in words that follow its name.
            failure: The traceback of an exception in it; empty if there was none.
            why: Everything known about the reason; may be empty.
            stuck: It was ended because it did nothing: no exception of the environment's.

        Raises:
            ActorError: There was an exception, and such are to be raised.
            ActorDiedError: It may not be replaced, and too few are left.
        """
        name = f"actor {seat.actor_id}"
        if failure and not stuck and self.on_env_error == "raise":
            raise ActorError(
                f"{name} failed; what happened there follows. Fix it, or pass on_env_error='restart' to "
                "replace failing environments within limits",
                actor_id=seat.actor_id,
                remote_traceback=failure,
            )
        wait = seat.restarts.admit()
        if wait is not None:
            last = why.splitlines()[-1] if why else "it left no message"
            logger.warning("%s %s (%s); starting it again", name, ending, last)
            seat.respawn_at = time.monotonic() + wait
            return
        seat.gone = True
        left = sum(not other.gone for other in seats)
        if left >= self.min_actors:
            logger.error("%s %s too often; going on with %d actors", name, ending, left)
            return
        limit = seat.restarts
        raise ActorDiedError(
            f"{name} {ending}, after {limit.total} restarts; more than {limit.limit} within "
            f"{limit.window_s:g} s are not allowed. {'What it last said follows' if why else 'It left no message'}",
            actor_id=seat.actor_id,
            restarts=limit.total,
            output=why,
        )


def stats_of(
    totals: NDArray[np.int64], seats: Sequence[Seat], *, lost: int, queue_depth: int, alive: int
) -> dict[str, Any]:
    """Counters of all actors over all their lives, from ``totals`` ``[A, 8]``."""
    return {
        "steps_collected": int(totals[:, STEPS].sum()),
        "steps_lost": lost,
        "episodes_collected": int(totals[:, EPISODES].sum()),
        "restarts": sum(seat.restarts.total for seat in seats),
        "queue_depth": queue_depth,
        "env_errors": int(totals[:, ENV_ERRORS].sum()),
        "nonfinite": int(totals[:, NONFINITE].sum()),
        "actors_alive": alive,
        "actor_steps": totals[:, STEPS].tolist(),
        "actor_cpu_s": (totals[:, CPU] * 1e-9).round(3).tolist(),
    }
