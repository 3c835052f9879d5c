"""The decision log of a run as a story: what was decided when, and the numbers that decided it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optix_core.runs.decision_log import LogEvent
from optix_core.runs.sentences import RULES, TELLERS, count, drop, new_best

_NARROWEST = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """One decision.

    Attributes:
        window: Windows learned from at that moment.
        step: Environment steps learned from.
        decision: What was decided, in a few words.
        because: The reason in one sentence, with its numbers.
        numbers: The numbers of the log, for machines.
    """

    window: int
    step: int
    decision: str
    because: str
    numbers: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "window": self.window,
            "step": self.step,
            "decision": self.decision,
            "because": self.because,
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
    """Events that decided something, in order; plain windows and uneventful evaluations are left out."""
    chapters: list[Chapter] = []
    best: float | None = None
    for event in events:
        if event.kind == "decision":
            found, best = _decision(event, best)
            chapters.extend(found)
        elif event.kind in TELLERS:
            decision, because = TELLERS[event.kind](event.numbers)
            if chapters and because.startswith(
                f"{chapters[-1].because}; "
            ):  # the verdict that stopped the run
                because = because[len(chapters[-1].because) + 2 :]
            chapters.append(_chapter(event, decision, because))
    return chapters


def as_text(chapters: Iterable[Chapter], width: int | None = None) -> list[str]:
    """The story as lines: number, window, step, decision and reason.

    Args:
        chapters: What to tell.
        width: Columns to wrap reasons in; None: one line each, however long.
    """
    rows = [(str(i), str(c.window), f"{c.step:,}", c.decision, c.because) for i, c in enumerate(chapters, 1)]
    header = ("#", "window", "step", "decision", "because")
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(4)]
    lines: list[str] = []
    for row in (header, *rows):
        cells = [row[column].rjust(widths[column]) for column in range(3)]
        head = "  ".join([*cells, row[3].ljust(widths[3]), ""])
        room = None if width is None else max(width - len(head) - 1, _NARROWEST)
        texts = [row[4]] if room is None else textwrap.wrap(row[4], room) or [""]
        lines += [(head + texts[0]).rstrip(), *(" " * len(head) + text for text in texts[1:])]
    return lines


def _chapter(event: LogEvent, decision: str, because: str) -> Chapter:
    return Chapter(
        window=event.window, step=event.step, decision=decision, because=because, numbers=event.numbers
    )


def _decision(event: LogEvent, best: float | None) -> tuple[list[Chapter], float | None]:
    """What one evaluation led to; most lead to nothing that is worth a line."""
    found: list[Chapter] = []
    data: dict[str, Any] = event.numbers
    actions: list[str] = data.get("actions") or []
    numbers: dict[str, Any] = data.get("numbers") or {}
    rules: list[str] = data.get("events") or []
    transitions: list[tuple[str, str, str]] = data.get("transitions") or []
    if "SAVE_BEST" in actions:
        score = numbers.get("best")
        found.append(_chapter(event, "new best", new_best(score, best, numbers)))
        best = score if score is not None else best
    if data.get("verdict") == "FAILED":
        found.append(
            _chapter(event, "failed evaluation", count(numbers, "failed_streak", "without a finite number"))
        )
    if "level_accepted" in rules:
        text = "the score stayed low although earlier weights were restored, so it is the new reference"
        found.append(_chapter(event, "lower level accepted", f"{text} {drop(numbers)}".rstrip()))
    for old, new, rule in transitions:
        reason = RULES[rule](numbers) if rule in RULES else str(rule)
        found.append(_chapter(event, f"{old} -> {new}", reason))
    if data.get("stop"):
        sentence = data.get("stop_sentence") or ""
        found.append(_chapter(event, f"stop: {str(data['stop']).lower()}", sentence))
    return found, best
