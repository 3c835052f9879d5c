"""Which branch of a trial did better, and is that more than chance?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from optix_core.stats.comparison import MIN_EPISODES, Comparison, compare_returns
from optix_core.tuners.gains import DifferenceScale


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What the returns of two arms say.

    Attributes:
        winner: The better arm, 0 or 1; None if both diverged.
        decided: The interval of the difference excludes zero, or one arm diverged.
        standard: Arm 0 minus arm 1 in units of the running scale.
        tie: Every pair of episodes returned exactly the same.
        keep: The arm whose weights go on: the better one, None if even that fell significantly below the start.
        details: The numbers, for the decision log.
    """

    winner: int | None
    decided: bool
    standard: float
    tie: bool
    keep: int | None
    details: dict[str, Any] = field(default_factory=dict[str, Any])


def usable(returns: Sequence[float]) -> bool:
    """Whether an arm came to its end with finite returns."""
    return bool(len(returns)) and all(math.isfinite(x) for x in returns)


def judge(
    arm_returns: Sequence[Sequence[float]],
    before: Sequence[float],
    scale: DifferenceScale,
    *,
    paired: bool,
    confidence: float,
) -> Judgement:
    """Compare two arms.

    Args:
        arm_returns: Episode returns of arm 0 and arm 1; empty or non-finite for one that diverged.
        before: Episode returns of the evaluation before the trial.
        scale: Running scale of differences, which learns from this one.
        paired: Index i of both arms is the same episode.
        confidence: Of the intervals.
    """
    finished = [usable(r) for r in arm_returns]
    if not any(finished):
        details: dict[str, Any] = {"outcome": "both arms diverged"}
        return Judgement(winner=None, decided=False, standard=0.0, tie=False, keep=None, details=details)
    if all(finished):
        result = compare_returns(*arm_returns, paired=paired, confidence=confidence)
        winner = 0 if result.difference >= 0 else 1
        details = numbers_of(result, paired=paired)
        standard = scale.standardise(result.difference)
        decided, tie = result.decided, result.low == result.high == 0
    else:  # an arm that diverged loses whatever the other returned
        winner = finished.index(True)
        details = {"outcome": f"arm {1 - winner} diverged"}
        standard = 1.0 if winner == 0 else -1.0
        decided, tie = True, False
    details["better_arm"] = winner
    worse = fell(arm_returns[winner], before, confidence)
    if worse is not None:
        details["both_below_start"] = numbers_of(worse, paired=False)
    keep = None if worse is not None else winner
    return Judgement(winner=winner, decided=decided, standard=standard, tie=tie, keep=keep, details=details)


def numbers_of(result: Comparison, *, paired: bool) -> dict[str, Any]:
    """A comparison for the decision log; ends that are infinite are None."""
    bounded = math.isfinite(result.low)
    return {
        "difference": result.difference,
        "low": result.low if bounded else None,
        "high": result.high if bounded else None,
        "episodes": result.episodes,
        "paired": paired,
    }


def fell(after: Sequence[float], before: Sequence[float], confidence: float) -> Comparison | None:
    """The comparison with the evaluation before the trial if even the better arm is significantly below it."""
    if min(len(after), len(before)) < MIN_EPISODES or not all(math.isfinite(x) for x in before):
        return None
    result = compare_returns(after, before, paired=False, confidence=confidence)
    return result if result.high < 0 else None
