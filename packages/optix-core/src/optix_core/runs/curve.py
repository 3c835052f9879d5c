"""A run as a picture needs it: scores with intervals, stretches of states, decisions with their place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from optix_core.runs.explain import Storyteller
from optix_core.runs.scalars import number

if TYPE_CHECKING:
    from optix_core.runs.decision_log import LogEvent

UNMARKED = frozenset({"started", "baseline", "state", "live", "rnd", "callback_failed"})
"""What a picture shows in another way, or would be covered with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One evaluation.

    Attributes:
        step: Environment steps.
        score: Its score.
        low: Lower end of the interval; the score where there is none.
        high: Upper end.
    """

    step: int
    score: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch in one state, in environment steps."""

    state: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A decision, at the height of the newest score (None before the first)."""

    kind: str
    step: int
    score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCurve:
    """One run.

    Attributes:
        name: Its directory's name.
        points: Evaluations, in order.
        spans: States, without gaps, from the first event to the last.
        marks: Decisions, in order.
        confirmed: Mean and interval of the policy that was handed back, if it was measured.
        finished: Whether the run ended by itself.
    """

    name: str
    points: tuple[Point, ...]
    spans: tuple[Span, ...]
    marks: tuple[Mark, ...]
    confirmed: tuple[float, float, float] | None
    finished: bool


def read_curve(name: str, events: Iterable[LogEvent]) -> RunCurve:
    """What ``events`` say."""
    points: list[Point] = []
    marks: list[Mark] = []
    states: list[tuple[int, str]] = []
    confirmed: tuple[float, float, float] | None = None
    teller = Storyteller()
    finished, last = False, 0
    for event in events:
        last = max(last, event.step)
        if not states:
            states.append((event.step, "ACTIVE"))
        finished = (finished and event.kind == "callback_failed") or event.kind == "finished"
        point = _point(event)
        if point is not None:
            points.append(point)
        if event.kind == "decision":
            states += [(event.step, str(new)) for _, new, _ in event.numbers.get("transitions") or ()]
        elif event.kind == "finished":
            confirmed = _confirmed(event.numbers.get("confirmation"))
        score = points[-1].score if points else None
        marks += [
            Mark(kind=chapter.kind, step=event.step, score=score)
            for chapter in teller.tell(event)
            if chapter.kind not in UNMARKED
        ]
    return RunCurve(
        name=name,
        points=tuple(points),
        spans=_spans(states, last),
        marks=tuple(marks),
        confirmed=confirmed,
        finished=finished,
    )


def _point(event: LogEvent) -> Point | None:
    if event.kind == "baseline":
        score, interval = number(event.numbers.get("score")), None
    elif event.kind == "decision" and event.numbers.get("verdict") is not None:
        numbers: dict[str, Any] = event.numbers.get("numbers") or {}
        score = number(numbers.get("score"))
        interval = event.numbers.get("interval")
    else:
        return None
    if score is None:
        return None
    low, high = (number(end) for end in interval or (None, None))
    return Point(
        step=event.step, score=score, low=score if low is None else low, high=score if high is None else high
    )


def _confirmed(found: Any) -> tuple[float, float, float] | None:
    if not isinstance(found, Mapping):
        return None
    told = cast("Mapping[str, Any]", found)
    mean, low, high = (number(told.get(name)) for name in ("mean", "low", "high"))
    return None if mean is None or low is None or high is None else (mean, low, high)


def _spans(states: list[tuple[int, str]], last: int) -> tuple[Span, ...]:
    ends = [step for step, _ in states[1:]] + [last]
    return tuple(
        Span(state=state, start=start, end=end)
        for (start, state), end in zip(states, ends, strict=True)
        if end > start
    )
