"""What can go wrong with processes that collect."""

from __future__ import annotations

from typing import ClassVar

from optix_core.errors import OptixError


class ActorError(OptixError):
    """An environment or a policy failed inside an actor; the actor's own traceback is part of the text.

    Attributes:
        actor_id: Which actor.
        remote_traceback: As the actor formatted it.
    """

    default_code: ClassVar[str] = "E-ACTOR"

    def __init__(self, message: str, *, actor_id: int, remote_traceback: str = "") -> None:
        super().__init__(f"{message}\n\n{remote_traceback.rstrip()}" if remote_traceback else message)
        self.actor_id, self.remote_traceback = actor_id, remote_traceback


class ActorDiedError(ActorError):
    """An actor died more often than it may, or could not be started.

    Attributes:
        restarts: How often it had been replaced.
    """

    default_code: ClassVar[str] = "E-ACTOR-DIED"

    def __init__(self, message: str, *, actor_id: int, restarts: int, output: str = "") -> None:
        super().__init__(message, actor_id=actor_id, remote_traceback=output)
        self.restarts = restarts


class WorkerLostError(OptixError):
    """A call was given to several processes of a cluster, one after another, and each of them died."""

    default_code: ClassVar[str] = "E-WORKER-LOST"
