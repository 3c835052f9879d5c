"""What the collector asks of N environments, however they are stepped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from optix_core.pipelines.faults import Fault
from optix_core.rl.spaces import SpaceInfo
from optix_core.state import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """An episode that ended: what followed its last step, before any reset, and the seed it had started with."""

    env_index: int
    final_observation: NDArray[Any]
    terminated: bool
    truncated: bool
    seed: int | None


class Stepper(Protocol):
    """N environments behind one interface.

    Attributes:
        n_envs: N.
        observation_space: Of one environment.
        action_space: Of one environment.
        infos: The info dicts of the last step, if they are kept.
        root_seed: Where the seeds of all episodes come from; may be set.
        moved: The environments are no longer where the last step left them, because a :meth:`restore` failed.
        resume_level: ``exact`` if :meth:`restore` continues episodes in the middle, else ``restart-episode``.
    """

    n_envs: int
    observation_space: SpaceInfo
    action_space: SpaceInfo
    infos: list[dict[str, Any]]
    root_seed: int
    moved: bool
    resume_level: str

    def start(self, row: NDArray[Any]) -> None:
        """Begin episode 0 everywhere; first observations go to ``row`` ``[N, *obs]``."""
        ...

    def step(
        self,
        acted: NDArray[Any],
        actions: list[Any],
        row: NDArray[Any],
        rewards: list[float],
        where: Callable[[], str],
    ) -> list[Ended | Fault] | None:
        """One step everywhere; observations go to ``row`` (a new episode's first one where one ended)."""
        ...

    def step_one(
        self, index: int, action: Any, row: NDArray[Any], rewards: list[float], where: Callable[[], str]
    ) -> Ended | Fault | None:
        """One step of one environment, during recovery from a fault."""
        ...

    def restart(self, index: int, *, rebuild: bool) -> NDArray[Any]:
        """Begin a new episode after a fault, in a new object if ``rebuild``."""
        ...

    def restart_all(self, row: NDArray[Any]) -> None:
        """Begin new episodes everywhere, after a window was interrupted."""
        ...

    def mark(self, index: int) -> State:
        """Which episode environment ``index`` is in; with its actions, enough to repeat it."""
        ...

    def env_state(self, index: int) -> State | None:
        """The environment's own state, if it offers one."""
        ...

    def restore(
        self, snapshots: Sequence[Mapping[str, Any]], to_env: Callable[[Any], Any], row: NDArray[Any]
    ) -> None:
        """Go back to snapshots, or begin new episodes if ``resume_level`` says so.

        Snapshots are marks with ``env_state``, ``observation`` and the ``actions`` of the episode so far.
        """
        ...

    def close(self) -> None:
        """Release the environments; safe to call twice."""
        ...
