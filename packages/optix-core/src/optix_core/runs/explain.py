"""The decision log of a run as a story: what was decided when, and the numbers that decided it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optix_core.runs.decision_log import LogEvent
from optix_core.runs.otherwise import otherwise
from optix_core.runs.sentences import RULES, TELLERS, count, drop, new_best, unknown_event

_NARROWEST = 30
_REPORTS = ("live",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """One decision.

    Attributes:
        kind: What sort of decision: an event's kind, or ``new_best``, ``state``, ``stop``, ``level_accepted``,
            ``failed_evaluation`` for what an evaluation led to.
        window: Windows learned from at that moment.
        step: Environment steps learned from.
        decision: What was decided, in a few words.
        because: The reason in one sentence, with its numbers.
        otherwise: What would have changed it; empty where there was nothing to decide.
        numbers: The numbers of the log, for machines.
    """

    kind: str
    window: int
    step: int
    decision: str
    because: str
    otherwise: str
    numbers: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "kind": self.kind,
            "window": self.window,
            "step": self.step,
            "decision": self.decision,
            "because": self.because,
            "otherwise": self.otherwise,
            "numbers": dict(self.numbers),
        }


def explain_run(path: str | Path) -> list[Chapter]:
    """The story of the run in ``path``.

    Raises:
        CheckpointError: There is no run, or its log cannot be read.
    """
    from optix_core.runs.run_directory import RunDirectory

    return story(RunDirectory.open(path).log().read())


def story(events: Iterable[LogEvent]) -> list[Chapter]:
    """Events that decided something, in order; plain windows and uneventful evaluations are left out.

    Reports of live sources, whose counters add up, are told once for each stretch without another decision: the
    last one, and how many there were.
    """
    teller = Storyteller()
    chapters: list[Chapter] = []
    repeats = 1
    for event in events:
        for chapter in teller.tell(event):
            if chapters and chapter.kind in _REPORTS and chapters[-1].kind == chapter.kind:
                repeats += 1
                said = f"{chapter.because} ({repeats} reports since window {_first(chapters[-1])})"
                numbers = {**chapter.numbers, "since_window": _first(chapters[-1])}
                chapters[-1] = replace(chapter, because=said, numbers=numbers)
            else:
                repeats = 1
                chapters.append(chapter)
    return chapters


class Storyteller:
    """Tells events one by one, in their order."""

    def __init__(self) -> None:
        self._best: float | None = None
        self._last = ""
        self._stopped = False
        self._budget: dict[str, Any] = {}

    def tell(self, event: LogEvent) -> list[Chapter]:
        """What one event decided; most decide nothing. Kinds that nobody knows are told by their numbers."""
        if event.kind == "window":
            return []
        if event.kind == "decision":
            found = self._decision(event)
        else:
            teller = TELLERS.get(event.kind)
            told = unknown_event(event.kind, event.numbers) if teller is None else teller(event.numbers)
            decision, because = told
            if self._last and because.startswith(f"{self._last}; "):  # the verdict that stopped the run
                because = because[len(self._last) + 2 :]
            found = [_chapter(event, event.kind, decision, because, self._near(event))]
        if found:
            self._last = found[-1].because
            self._stopped = found[-1].kind == "stop"
        return found

    def _near(self, event: LogEvent) -> str:
        """What would have changed an event that is no evaluation; an end is told by the decision before it, if any."""
        if event.kind == "started":
            self._budget = dict(event.numbers.get("budget") or {})
        if event.kind not in {"finished", "interrupted"}:
            return otherwise(event.kind, event.numbers)
        reason = str(event.numbers.get("reason")).upper()
        return "" if self._stopped else otherwise(f"stop:{reason}", {**self._budget, **event.numbers})

    def _decision(self, event: LogEvent) -> list[Chapter]:
        """What one evaluation led to; most lead to nothing that is worth a line."""
        found: list[Chapter] = []
        data: Mapping[str, Any] = event.numbers
        actions: list[str] = data.get("actions") or []
        numbers: dict[str, Any] = data.get("numbers") or {}
        rules: list[str] = data.get("events") or []
        transitions: list[tuple[str, str, str]] = data.get("transitions") or []
        stop = data.get("stop")
        if "SAVE_BEST" in actions:
            score = numbers.get("best")
            text = new_best(score, self._best, numbers)
            near = otherwise("new_best", {"before": self._best})
            found.append(_chapter(event, "new_best", "new best", text, near))
            self._best = score if score is not None else self._best
        if data.get("verdict") == "FAILED":
            text = count(numbers, "failed_streak", "without a finite number")
            near = otherwise("failed_evaluation", numbers)
            found.append(_chapter(event, "failed_evaluation", "failed evaluation", text, near))
        if "level_accepted" in rules:
            text = "the score stayed low although earlier weights were restored, so it is the new reference"
            near = otherwise("level_accepted", numbers)
            text = f"{text} {drop(numbers)}".rstrip()
            found.append(_chapter(event, "level_accepted", "lower level accepted", text, near))
        for old, new, rule in transitions:
            reason = RULES[rule](numbers) if rule in RULES else str(rule)
            # where the run stops, the stop says it
            near = "" if stop and rule == "converged" else otherwise(f"rule:{rule}", numbers)
            found.append(_chapter(event, "state", f"{old} -> {new}", reason, near))
        if stop:
            sentence = data.get("stop_sentence") or ""
            near = otherwise(f"stop:{stop}", numbers)
            found.append(_chapter(event, "stop", f"stop: {str(stop).lower()}", sentence, near))
        return found


def as_text(chapters: Iterable[Chapter], width: int | None = None) -> list[str]:
    """The story as lines: number, window, step, decision and reason; under it what would have changed it.

    Args:
        chapters: What to tell.
        width: Columns to wrap reasons in; None: one line each, however long.
    """
    rows = [
        (
            str(i),
            str(c.window),
            f"{c.step:,}",
            c.decision,
            c.because,
            c.otherwise and f"otherwise: {c.otherwise}",
        )
        for i, c in enumerate(chapters, 1)
    ]
    header = ("#", "window", "step", "decision", "because", "")
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(4)]
    lines: list[str] = []
    for row in (header, *rows):
        cells = [row[column].rjust(widths[column]) for column in range(3)]
        head = "  ".join([*cells, row[3].ljust(widths[3]), ""])
        room = None if width is None else max(width - len(head) - 1, _NARROWEST)
        texts = [text for said in row[4:] if said for text in _wrapped(said, room)] or [""]
        lines += [(head + texts[0]).rstrip(), *(" " * len(head) + text for text in texts[1:])]
    return lines


def _wrapped(text: str, room: int | None) -> list[str]:
    return [text] if room is None else textwrap.wrap(text, room)


def _chapter(event: LogEvent, kind: str, decision: str, because: str, near: str) -> Chapter:
    return Chapter(
        kind=kind,
        window=event.window,
        step=event.step,
        decision=decision,
        because=because,
        otherwise=near,
        numbers=event.numbers,
    )


def _first(chapter: Chapter) -> int:
    return int(chapter.numbers.get("since_window", chapter.window))
