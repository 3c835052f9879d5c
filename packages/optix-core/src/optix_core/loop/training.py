"""One window of training: collect, learn, count, and notice when the numbers go bad."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from optix_core.base_agent import BaseAgent
    from optix_core.base_pipeline import BasePipeline
    from optix_core.state import State
    from optix_core.types import EpisodeData


@dataclass(slots=True)
class Progress:
    """What a run has consumed so far. Steps include branches and probes, whatever became of them.

    Attributes:
        windows: Windows learned from.
        steps: Environment steps learned from, over all environments.
        episodes: Complete training episodes.
    """

    windows: int = 0
    steps: int = 0
    episodes: int = 0
    _elapsed_before: float = 0.0
    _started: float = field(default_factory=time.monotonic)

    @property
    def elapsed(self) -> float:
        """Seconds of run time, over all processes that worked on this run."""
        return self._elapsed_before + time.monotonic() - self._started

    def state_dict(self) -> State:
        """The counters."""
        return {
            "windows": self.windows,
            "steps": self.steps,
            "episodes": self.episodes,
            "elapsed": self.elapsed,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue counting; the clock continues from the stored elapsed time."""
        self.windows = int(state["windows"])
        self.steps = int(state["steps"])
        self.episodes = int(state["episodes"])
        self._elapsed_before = float(state["elapsed"])
        self._started = time.monotonic()


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much a run may consume; None means no limit.

    Attributes:
        max_steps: Environment steps learned from. Met exactly where the pipeline can shorten a window, never exceeded.
        max_windows: Windows learned from.
        max_seconds: Run time; checked between windows.
    """

    max_steps: int | None = None
    max_windows: int | None = None
    max_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class TrainedWindow:
    """What came of one window.

    Attributes:
        data: The experience.
        diagnostics: What ``learn`` returned.
        diverged: Names of diagnostics that are not finite although the agent calls them a failure (see
            :func:`non_finite`).
    """

    data: EpisodeData
    diagnostics: Mapping[str, Any]
    diverged: tuple[str, ...]


class WindowTrainer:
    """Takes windows from the pipeline and lets the agent learn from them, within the step budget."""

    def __init__(self, agent: BaseAgent, pipeline: BasePipeline, progress: Progress, budget: Budget) -> None:
        self._agent = agent
        self._pipeline = pipeline
        self._progress = progress
        self._budget = budget
        self._windows: Iterator[EpisodeData] | None = None

    def begin(self) -> None:
        """Take windows from a pipeline that was set up anew."""
        self._windows = None

    def steps_left(self) -> float:
        """Environment steps that the budget still allows, or infinity."""
        if self._budget.max_steps is None:
            return math.inf
        return self._budget.max_steps - self._progress.steps

    def windows_left(self) -> float:
        """Windows that the budget still allows, or infinity."""
        if self._budget.max_windows is None:
            return math.inf
        return self._budget.max_windows - self._progress.windows

    def affords(self, windows: int) -> bool:
        """Whether that many whole windows fit into what is left."""
        per_window = self._pipeline.steps_per_window or 0
        return windows <= self.windows_left() and windows * per_window <= self.steps_left()

    def can_collect(self) -> bool:
        """Whether another window, shortened if need be, fits into the budget."""
        left = self.steps_left()
        if self.windows_left() < 1 or left < 1:
            return False
        per_window = self._pipeline.steps_per_window
        if per_window is None:  # not known beforehand: a pipeline that keeps to a limit is always given one
            if math.isfinite(left):
                self._pipeline.limit_next_window(int(left))
            return True
        if per_window <= left:
            return True
        return self._pipeline.limit_next_window(int(left))

    def train(self) -> TrainedWindow | None:
        """Collect the next window and learn from it; None if the source of windows has ended."""
        if self._windows is None:
            self._windows = self._pipeline.episodes()
        data = next(self._windows, None)
        if data is None:
            return None
        data.episode_id = self._progress.windows
        diagnostics = self._agent.learn(data) or {}
        self._progress.windows += 1
        self._progress.steps += data.n_steps
        self._progress.episodes += len(data.episodes)
        return TrainedWindow(data, diagnostics, non_finite(diagnostics))


UNDEFINED_IS_FINE = frozenset({"explained_var", "explained_variance"})
"""Diagnostics that are NaN by definition now and then (no variance to explain), which is not a failure."""


def non_finite(diagnostics: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of float diagnostics that are NaN or infinite and thereby report a failed update."""
    return tuple(
        name
        for name, value in diagnostics.items()
        if isinstance(value, float) and not math.isfinite(value) and name not in UNDEFINED_IS_FINE
    )
