"""What the learner knows of an actor on a cluster, and what it has to give back."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from optix_distributed.on_ray.placing import Placement
from optix_distributed.on_ray.session import RaySession
from optix_distributed.shared.plan import STATS
from optix_distributed.supervision import Seat


@dataclass(slots=True, kw_only=True)
class Life:
    """One incarnation of an actor.

    Attributes:
        handle: To call it by.
        began: ``time.monotonic()`` when it was asked for.
        requests: Calls for trajectories under way, in order, and the slot of each.
        arrived: Those of them whose answers are there and have to wait for earlier ones.
        ready: It has made its environments.
        seen: When it last answered anything; None: it has not been placed yet.
        looking: The call that asks what it does; None: there is none under way.
        look_at: When that was made, or is due.
        told_of: When it was last said that it waits for room.
        pid: Of its process, on its machine.
        version: Of the weights that it has for certain.
        stats: Its numbers as it last told them.
    """

    handle: Any
    began: float
    requests: dict[Any, int] = field(default_factory=dict[Any, int])  # call to slot, in order
    arrived: set[Any] = field(default_factory=set[Any])
    ready: bool = False
    seen: float | None = None  # when it last answered anything
    looking: Any = None
    look_at: float = 0.0
    told_of: float = 0.0
    pid: int = 0
    version: int = -1  # that it has, for certain
    stats: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(STATS), np.int64))


@dataclass(slots=True, kw_only=True)
class RaySeat(Seat):
    """A seat and whoever sits on it."""

    life: Life | None = None


class Held:
    """What must be given back even if nobody says so."""

    def __init__(self, session: RaySession) -> None:
        self.session, self.owner = session, os.getpid()
        self.placement = Placement({}, 0, least=0, reserve=False)
        self.handles: dict[int, Any] = {}


def release(held: Held) -> None:
    """End what is left of actors, give room back, and leave the cluster."""
    if os.getpid() != held.owner:  # a fork of the learner has no actors
        return
    if held.session.is_up:
        for handle in held.handles.values():
            ray.kill(handle, no_restart=True)
        held.placement.release()
    held.handles.clear()
    held.session.close()
