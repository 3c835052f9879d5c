"""What a dashboard shows: numbers kept from the run's events."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from optix_core.callbacks.progress import duration, number, short
from optix_core.runs.explain import Storyteller
from optix_core.runs.scalars import ScalarReader

if TYPE_CHECKING:
    from optix_core.runs.decision_log import LogEvent
    from optix_core.runs.explain import Chapter

MAX_HYPERPARAMS = 6
MEAN_OF = 20
SHOWN_FIRST = (
    "learning_rate",
    "lr",
    "gamma",
    "clip_ratio",
    "epsilon",
    "tau",
    "n_step",
    "per_alpha",
    "entropy_coef",
)
MEANINGS = {
    "ACTIVE": "exploring",
    "COOLING": "plateau",
    "DORMANT": "converged",
    "WATCHDOG": "converged, watching",
    "STOPPED": "the run has ended",
}
"""The states of the loop under their own names, each with a word for whoever reads none of the documentation."""


class DashboardModel:
    """Takes events in order; everything it holds is bounded.

    Args:
        history: Scores kept for the curve.
        max_steps: Budget, where it is known.
    """

    def __init__(self, history: int, max_steps: int | None = None) -> None:
        self.scores: deque[float] = deque(maxlen=history)
        self.recent: deque[float] = deque(maxlen=MEAN_OF)
        self.chapters: deque[Chapter] = deque(maxlen=8)
        self.best: float | None = None
        self.interval: tuple[float, float] | None = None
        self.state = "ACTIVE"
        self.mark = ""
        self.hyperparams: dict[str, Any] = {}
        self.window = self.step = 0
        self.max_steps = max_steps
        self.speed: float | None = None
        self.elapsed = 0.0
        self.events = 0
        self.actors: dict[str, float] = {}
        self._scalars = ScalarReader()
        self._story = Storyteller()

    def take(self, event: LogEvent) -> list[Chapter]:
        """Keep what one event says; returns what it decided."""
        self.events += 1
        self.window, self.step = max(self.window, event.window), max(self.step, event.step)
        values = self._scalars.read(event)
        self._keep_score(values, event)
        self.speed = values.get("metrics/steps_per_second", self.speed)
        elapsed = event.numbers.get("elapsed")
        if isinstance(elapsed, int | float):
            self.elapsed = float(elapsed)
        self._keep_hyperparams(event, values)
        if event.kind == "actors":
            self.actors = {tag.partition("/")[2]: value for tag, value in values.items()}
        if event.kind == "decision":
            self.state = str(event.numbers.get("state") or self.state)
            self.mark = _mark(values) or ("" if event.numbers.get("verdict") is not None else self.mark)
        elif event.kind == "started":
            budget = event.numbers.get("budget")
            if isinstance(budget, Mapping):
                self.max_steps = cast("Mapping[str, Any]", budget).get("max_steps")
        elif event.kind in {"finished", "interrupted", "failed"}:
            self.state, self.mark = "STOPPED", ""
        elif event.kind == "resumed":
            self.mark = ""
        told = self._story.tell(event)
        self.chapters.extend(told)
        return told

    def _keep_score(self, values: Mapping[str, float], event: LogEvent) -> None:
        score = values.get("score/primary")
        if score is not None:
            self.scores.append(score)
            if event.kind != "baseline":
                self.recent.append(score)
            low, high = values.get("score/low"), values.get("score/high")
            self.interval = None if low is None or high is None else (low, high)
        self.best = values.get("score/best", self.best)

    def _keep_hyperparams(self, event: LogEvent, values: Mapping[str, float]) -> None:
        for tag, value in values.items():
            if tag.startswith("hyperparams/"):
                self.hyperparams[tag.partition("/")[2]] = value
        told = event.numbers.get("hyperparams")
        if isinstance(told, Mapping):  # whole numbers as such, and words, which are no curves
            self.hyperparams |= cast("Mapping[str, Any]", told)

    # --- in words -----------------------------------------------------------------------------------------------------

    @property
    def label(self) -> str:
        """The loop's state, and what just happened."""
        meaning = MEANINGS.get(self.state, "")
        text = f"{self.state} ({meaning})" if meaning else self.state
        return f"{text}  {self.mark}" if self.mark else text

    def score_lines(self) -> list[tuple[str, str]]:
        """Names and values of the panel about scores."""
        last = "none yet" if not self.scores else number(self.scores[-1])
        if self.interval is not None:
            last += f" [{number(self.interval[0])}, {number(self.interval[1])}]"
        mean = math.fsum(self.recent) / len(self.recent) if self.recent else None
        return [
            ("last", last),
            ("best", "none yet" if self.best is None else number(self.best)),
            (f"mean of last {MEAN_OF}", "none yet" if mean is None else number(mean)),
        ]

    def hyperparam_lines(self) -> list[tuple[str, str]]:
        """The most telling hyperparameters, at most :data:`MAX_HYPERPARAMS`."""
        names = [name for name in SHOWN_FIRST if name in self.hyperparams]
        names += [name for name in self.hyperparams if name not in names]
        return [(name, _value(self.hyperparams[name])) for name in names[:MAX_HYPERPARAMS]]

    def progress(self) -> str:
        """Steps, windows, speed and time."""
        steps = f"{short(self.step)}/{short(self.max_steps)}" if self.max_steps else short(self.step)
        parts = [f"{steps} steps", f"{self.window} windows"]
        if self.speed is not None:
            parts.append(f"{short(self.speed)} steps/s")
        return "  ".join([*parts, *self.actor_parts(), duration(self.elapsed)])

    def actor_parts(self) -> list[str]:
        """What is known of actor processes: how many live, how old their data is, what waits, what went wrong."""
        told = self.actors
        if not told:
            return []
        parts = [f"{told.get('actors_alive', 0.0):.0f} actors", f"lag {told.get('lag_mean', 0.0):.1f}"]
        if told.get("queue_depth"):
            parts.append(f"queue {told['queue_depth']:.0f}")
        for name, word in (
            ("restarts", "restarted"),
            ("steps_discarded", "discarded"),
            ("steps_lost", "lost"),
        ):
            if told.get(name):
                parts.append(f"{short(told[name])} {word}")
        return parts

    def short_line(self) -> str:
        """What matters most, for narrow places."""
        last = "none" if not self.scores else number(self.scores[-1])
        return f"{short(self.step)} score {last} {self.mark or self.state}"

    def line(self) -> str:
        """Everything in one line."""
        said = dict(self.score_lines())
        return f"{self.progress()}  score {said['last']}  best {said['best']}  {self.label}"


def _mark(values: Mapping[str, float]) -> str:
    if "events/degradation" in values:
        return "DEGRADATION"
    return "IMPROVED" if "events/improvement" in values else ""


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
