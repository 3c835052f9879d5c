"""One line of progress: where training stands, how good the policy is and how sure that is."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, TextIO

from optix_core.callbacks.line_writer import LineWriter, Mode
from optix_core.loop_callback import LoopCallback
from optix_core.stats.comparison import mean_interval
from optix_core.types import EvalMetrics, LoopState, PolicySnapshot

_SECONDS_BETWEEN = {"terminal": 0.1, "notebook": 1.0, "plain": 10.0, "off": math.inf}


class ProgressCallback(LoopCallback):
    """Prints progress so that it suits where it goes.

    A terminal gets one line that is overwritten, a notebook one output that is updated, and a pipe or file a plain
    line now and then. State changes, rollbacks and changed hyperparameters always get lines of their own. No colours
    and no characters beyond ASCII are used.

    Args:
        stream: Where to write; None: standard output.
        mode: ``"auto"``, ``"terminal"``, ``"plain"``, ``"notebook"`` or ``"off"``.
        interval: Seconds between updates; None: 0.1 on a terminal, 1 in a notebook, 10 otherwise.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        mode: Mode = "auto",
        interval: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._mode: Mode = mode
        self.writer = LineWriter(stream, mode)
        self._interval = interval
        self._clock = clock
        self._run: Any = None
        self._began = self._shown = clock()
        self._steps_before = 0
        self._windows = 0
        self._state: LoopState | None = None
        self._score: EvalMetrics | None = None
        self._best: float | None = None
        self._last = self._on_screen = ""

    def print_to(self, stream: TextIO) -> None:
        """Print there; before the run starts."""
        self.writer = LineWriter(stream, self._mode)

    def attach(self, run: Any) -> None:
        """Let the line show steps, speed and budget as well.

        Args:
            run: The :class:`~optix_core.loop.LoopController`, or what has its ``progress``, ``budget`` and ``state``.
        """
        self._run = run

    # --- events -----------------------------------------------------------------------------------------------------

    def on_loop_start(self) -> None:
        """Start the clock."""
        self._began = self._clock()
        self._shown = -math.inf if self.writer.mode != "plain" else self._began
        self._steps_before = self._steps() or 0
        self._state = self._run.state if self._run is not None else LoopState.ACTIVE
        best = getattr(self._run, "best_snapshot", None)
        self._best = None if best is None else best.eval_metrics.primary_score

    def on_episode_end(self, episode_id: int, eval_metrics: EvalMetrics | None) -> None:
        """Update the line if it is time."""
        self._windows = episode_id + 1
        if eval_metrics is not None:
            self._score = eval_metrics
        self._note_state(self._run.state if self._run is not None else self._state)
        now = self._clock()
        self._last = self.text()
        if now - self._shown >= self._pause():
            self._shown = now
            self._show()

    def on_improvement(self, snapshot: PolicySnapshot) -> None:
        """Remember the best score."""
        self._best = snapshot.eval_metrics.primary_score
        if self._run is None:
            self._note_state(LoopState.ACTIVE)

    def on_plateau(self, episode_id: int, state: LoopState) -> None:
        """A line for the new state."""
        self._windows = episode_id + 1
        self._note_state(state)

    def on_dormant(self, episode_id: int) -> None:
        """A line for the new state."""
        self._windows = episode_id + 1
        self._note_state(LoopState.DORMANT)

    def on_degradation(self, episode_id: int, eval_metrics: EvalMetrics) -> None:
        """A line for the drop."""
        self._windows = episode_id + 1
        best = "" if self._best is None else f", best {number(self._best)}"
        self.writer.line(f"{self._when()}degradation: score {number(eval_metrics.primary_score)}{best}")

    def on_hyperparam_update(self, old_params: dict[str, Any], new_params: dict[str, Any]) -> None:
        """A line with what changed."""
        changed = [
            f"{name} {_value(old_params.get(name))} -> {_value(value)}"
            for name, value in new_params.items()
            if old_params.get(name) != value
        ]
        if changed:
            self.writer.line(f"{self._when()}tuned: {', '.join(changed)}")

    def on_loop_stop(self) -> None:
        """The last status, and a fresh line."""
        if self._last != self._on_screen:
            self._show()
        self.writer.close()

    # --- text -------------------------------------------------------------------------------------------------------

    def text(self) -> str:
        """The line as it reads now."""
        elapsed = self._clock() - self._began
        steps = self._steps()
        parts = [f"{self._windows} windows"] if steps is None else [self._budgeted(steps)]
        if self._score is not None:
            parts.append(f"score {score_text(self._score)}")
        if self._best is not None and math.isfinite(self._best):
            parts.append(f"best {number(self._best)}")
        if self._state is not None:
            parts.append(self._state.name)
        if steps is not None and elapsed > 0:
            parts.append(f"{short((steps - self._steps_before) / elapsed)} steps/s")
        parts.append(duration(elapsed))
        return "  ".join(parts)

    def _show(self) -> None:
        self.writer.status(self._last)
        self._on_screen = self._last

    def _budgeted(self, steps: int) -> str:
        limit = getattr(getattr(self._run, "budget", None), "max_steps", None)
        return f"{short(steps)}/{short(limit)} steps" if limit else f"{short(steps)} steps"

    def _steps(self) -> int | None:
        progress = getattr(self._run, "progress", None)
        return None if progress is None else int(progress.steps)

    def _pause(self) -> float:
        return _SECONDS_BETWEEN[self.writer.mode] if self._interval is None else self._interval

    def _when(self) -> str:
        steps = self._steps()
        return f"[{self._windows} windows] " if steps is None else f"[{short(steps)} steps] "

    def _note_state(self, state: LoopState | None) -> None:
        before, self._state = self._state, state
        if state is not None and before is not None and state is not before:
            self.writer.line(f"{self._when()}state: {before.name} -> {state.name}")


def score_text(metrics: EvalMetrics) -> str:
    """A score with the 95 % interval of its mean return, where there are enough episodes for one."""
    score = number(metrics.primary_score)
    returns = metrics.episode_returns
    if len(returns) >= 2 and all(map(math.isfinite, returns)):
        interval = mean_interval(returns)
        if math.isfinite(interval.low):
            return f"{score} [{number(interval.low)}, {number(interval.high)}]"
    return score


def number(value: float) -> str:
    """Four significant digits, but whole numbers below a million in full: ``497.2``, ``-1.234e+07``, ``nan``."""
    if math.isfinite(value) and 1000 <= abs(value) < 1_000_000:
        return f"{value:.0f}"
    return f"{value:.4g}"


def short(value: float) -> str:
    """``950``, ``41.0k``, ``1.50M``."""
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return (
                f"{value / factor:.3g}{letter}"
                if abs(value) >= 100 * factor
                else f"{value / factor:.1f}{letter}"
            )
    return f"{value:.0f}"


def duration(seconds: float) -> str:
    """``0:41``, ``12:05``, ``1:02:03``."""
    whole = int(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
