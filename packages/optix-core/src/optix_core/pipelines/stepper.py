"""What the collector asks of N environments, however they are stepped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from optix_core.pipelines.faults import Fault
from optix_core.pipelines.reading import ObservationReader
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
        observation_space: Of one environment, without masks.
        offers_masks: The environments say beside their observations which actions are allowed (known once started).
        reader: What elements of windows look like (known once started).
        action_space: Of one environment.
        infos: The info dicts of the last step, if they are kept.
        root_seed: Where the seeds of all episodes come from; may be set.
        moved: The environments are no longer where the last step left them, because a :meth:`restore` failed.
        resume_level: ``exact`` if :meth:`restore` continues episodes in the middle, else ``restart-episode``.
    """

    n_envs: int
    observation_space: SpaceInfo
    action_space: SpaceInfo
    offers_masks: bool
    infos: list[dict[str, Any]]
    root_seed: int
    moved: bool
    resume_level: str

    @property
    def reader(self) -> ObservationReader:
        """Valid once the environments were started or restored."""
        ...

    def start(self, *, masks: bool) -> NDArray[Any]:
        """Begin episode 0 everywhere.

        Args:
            masks: Add action masks to the observations where the environments offer them.

        Returns:
            First observations ``[N, *obs]``, a fresh array.
        """
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

    def restart_all(self, *, masks: bool) -> NDArray[Any]:
        """Begin new episodes everywhere, after a window was interrupted; otherwise like :meth:`start`."""
        ...

    def mark(self, index: int) -> State:
        """Which episode environment ``index`` is in; with its actions, enough to repeat it."""
        ...

    def env_state(self, index: int) -> State | None:
        """The environment's own state, if it offers one."""
        ...

    def restore(
        self, snapshots: Sequence[Mapping[str, Any]], to_env: Callable[[Any], Any], *, masked: bool
    ) -> NDArray[Any]:
        """Go back to snapshots, or begin new episodes if ``resume_level`` says so; observations ``[N, *obs]``.

        Snapshots are marks with ``env_state``, ``observation`` and the ``actions`` of the episode so far.
        """
        ...

    def close(self) -> None:
        """Release the environments; safe to call twice."""
        ...
