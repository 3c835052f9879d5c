"""What a collection asks of whoever collects: here, in processes of this machine, or on a cluster.

Slots belong to actors. A slot is granted to its actor, comes back filled, is read, and is granted again; an actor
without a grant rests. So nothing is ever dropped because a queue was full: there is no queue to fill.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

NEWEST = -1
"""Instead of a version: whichever is newest."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A trajectory, the learner's until its slot is granted again.

    Attributes:
        actor_id: Who collected it.
        slot: Where it lies.
        version: Of the weights that acted.
        sequence: Which trajectory of this actor.
        steps: Environment steps in it.
    """

    actor_id: int
    slot: int
    version: int
    sequence: int
    steps: int


@dataclass(slots=True)
class Counts:
    """Environment steps by what became of them.

    Attributes:
        delivered: Steps of trajectories that were reported.
        lost: Steps of trajectories that died with their actors.
    """

    delivered: int = 0
    lost: int = 0


class CollectionBackend(Protocol):
    """Actors, wherever they are.

    Attributes:
        version: Of the weights that were published last; -1 before.
    """

    version: int

    @property
    def ready(self) -> deque[Filled]:
        """Trajectories that have arrived and were not yet taken."""
        ...

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        ...

    @property
    def pids(self) -> list[int]:
        """Process ids of the actors that run, each on its machine; empty where actors are no processes."""
        ...

    def start(self) -> None:
        """Start all actors; weights must have been published. They report when they have something."""
        ...

    def publish(self, payload: NDArray[Any]) -> int:
        """Give the actors new weights ``[nbytes]`` uint8; returns their version, one more than the last."""
        ...

    def grant(self, actor_id: int, slot: int, version: int = NEWEST) -> None:
        """Let an actor fill one of its slots, with the newest weights or those of a version."""
        ...

    def grant_all(self) -> None:
        """Grant every slot that nobody has, with the newest weights."""
        ...

    def view(self, filled: Filled) -> dict[str, NDArray[Any]]:
        """The arrays of a filled slot; copy what is needed before it is granted again."""
        ...

    def wait(
        self, enough: Callable[[deque[Filled]], bool], *, interrupted: Callable[[], bool] = lambda: False
    ) -> None:
        """Look after the actors until ``enough`` says that what is ready suffices.

        Raises:
            ActorError: An environment or a policy failed.
            ActorDiedError: An actor died too often.
        """
        ...

    def poll(self, timeout: float) -> None:
        """Hear what there is to hear, waiting at most ``timeout`` seconds, and replace who is dead or stuck."""
        ...

    def take(self, n: int) -> list[Filled]:
        """The ``n`` trajectories that have been ready for longest."""
        ...

    def stats(self) -> dict[str, Any]:
        """Counters so far: steps by what became of them, restarts, queue depth, and numbers per actor."""
        ...

    def close(self) -> None:
        """End all actors and give everything back; safe to call twice."""
        ...
