"""The contract between the loop and whatever produces windows of experience."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from optix_core.base_agent import BaseAgent
    from optix_core.types import EpisodeData

EpisodeBoundaryFn = Callable[[int, float, Any], bool]
"""``(step_count, elapsed_seconds, last_observation) -> bool``: whether a live window should end here."""


class BasePipeline(ABC):
    """Produces an endless sequence of windows.

    Order of calls: ``set_agent``, ``setup``, then ``episodes`` once per run, then ``teardown`` (always, also
    after an error).
    """

    @abstractmethod
    def setup(self) -> None:
        """Get ready to produce windows; a second call starts afresh."""

    @abstractmethod
    def episodes(self) -> Iterator[EpisodeData]:
        """An endless iterator of windows. A window is collected when it is asked for, never ahead."""

    @abstractmethod
    def teardown(self) -> None:
        """Release environments, threads and processes. Safe to call twice."""

    @property
    @abstractmethod
    def is_live(self) -> bool:
        """Whether the data comes from a source that cannot be paused, reset or replayed."""

    def set_agent(self, agent: BaseAgent) -> None:
        """Let ``agent`` act from the next step on. Pipelines that do not act ignore it."""
        del agent

    @property
    def steps_per_window(self) -> int | None:
        """Environment steps (over all environments) in one window, or None if windows vary in length."""
        return None

    def limit_next_window(self, steps: int) -> bool:
        """Ask that the next window hold at most ``steps`` environment steps over all environments (only that one).

        Returns:
            Whether the pipeline will do so; if not, the loop ends before a window that would exceed its budget.
        """
        del steps
        return False


@runtime_checkable
class SeededEvaluation(Protocol):
    """Validation pipelines whose evaluations can be repeated on the same episodes.

    The loop uses this to compare two policies pairwise: same ``index``, same episode seeds.
    """

    def evaluate(self, index: int, *, episodes: int | None = None) -> EpisodeData:
        """Run complete greedy episodes whose seeds depend only on the root seed and ``index``.

        Args:
            index: Which evaluation; equal indices use equal episode seeds.
            episodes: How many complete episodes; the pipeline's own default if None.

        Returns:
            A window that holds exactly those episodes, in order.
        """
        ...
