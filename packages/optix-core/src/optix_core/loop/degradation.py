"""Whether the score fell below its best level: a confirmed drop, told from noise.

Like :mod:`.evidence`, pure functions of differences of scores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from optix_core.stats.slope import fit_suffixes

if TYPE_CHECKING:
    from optix_core.loop.config import LoopConfig
    from optix_core.loop.records import LoopSnapshot

STEP_FACTOR = 1.25
"""A jump must measure this much more than ``degradation_sigmas``, because one wild value carries on for a while."""

EACH_SIGMAS = 1.25
"""How far, in standard deviations of the noise, every single score of a drop must lie below the level."""

NOISE_WINDOWS = 2
"""The noise around a level is estimated from this many ``score_window``."""


LOST_SHARE = 0.2
"""The part of everything learned so far that each score of a collapse has lost, at least."""

COLLAPSE_SUM = 1.5
"""What the scores of a collapse have lost together: three of them half of everything learned, or five a third."""

COLLAPSE_SIGMAS = 4.0
"""How many standard errors, known from episodes, lie between what was reached and a collapse."""


@dataclass(frozen=True, slots=True)
class Drop:
    """What :func:`examine_drop` found.

    Attributes:
        degraded: The drop is confirmed.
        drop: Best level minus the mean of the recent scores; positive when the score fell.
        numbers: The numbers behind it.
    """

    degraded: bool
    drop: float = 0.0
    numbers: dict[str, float | None] = field(default_factory=dict[str, "float | None"])


def examine_drop(snapshot: LoopSnapshot, config: LoopConfig) -> Drop:
    """Whether the last ``min_consecutive_degradations`` scores lie below the best level, confirmed.

    All of them must lie below it by more than the smallest drop that counts, and their mean by more than
    ``degradation_sigmas``
    times what noise does: the larger of the standard error of the difference (noise and autocorrelation from the
    scores before) and the root mean square of the drops seen so far, which knows heavy tails and the bias of a maximum.
    """
    k = config.min_consecutive_degradations
    scores = snapshot.scores
    if len(scores) < max(config.min_episodes_before_degradation, 5) + k:
        return Drop(False)
    recent = scores[-k:]
    if config.degradation_threshold is not None:
        return _fixed_rule(snapshot, config, recent)
    before = scores[-k - config.score_window : -k]
    anchor = before[-1]
    # the level stored in the snapshot is that of earlier windows; the newest one may be higher
    here = level = math.fsum(s - anchor for s in before) / len(before)
    if snapshot.level is not None:
        level = max(level, snapshot.level - anchor)
    mean = math.fsum(s - anchor for s in recent) / k
    drop = level - mean
    floor = config.min_degradation_drop if config.min_degradation_drop is not None else 0.1 * snapshot.rise
    if not level - (max(recent) - anchor) > floor:
        return Drop(False, drop)
    seen = math.sqrt(snapshot.drop_power / snapshot.drop_weight) if snapshot.drop_weight > 0.0 else 0.0
    sd, r1 = _noise_before(_before_trouble(snapshot, config), config)
    if not level - (max(recent) - anchor) > EACH_SIGMAS * sd:
        return Drop(False, drop)
    scale = max(sd * math.sqrt(_variance_of_mean(k, r1) + _variance_of_mean(len(before), r1)), seen)
    # the second way to see it: a jump away from where an AR(1) process would have gone from the last score before
    carried = (1.0 - r1**k) * r1 / (k * (1.0 - r1))
    step = (1.0 - carried) * here - mean  # anchor, the last score before, is zero here
    step_scale = sd * math.sqrt(_variance_of_path(k, r1))
    degraded = (
        drop > config.degradation_sigmas * scale
        or step > STEP_FACTOR * config.degradation_sigmas * step_scale
    )
    return Drop(
        degraded,
        drop,
        {
            "drop": drop,
            "drop_scale": scale,
            "step": step,
            "step_scale": step_scale,
            "drop_floor": floor,
            "noise_sd": sd,
            "r1": r1,
        },
    )


def follow_loss(snapshot: LoopSnapshot, score: float, score_se: float | None) -> LoopSnapshot:
    """Add ``score`` to a loss under way, or end it: with a score that lost little there is none."""
    none = replace(snapshot, collapse_run=0, collapse_lost=0.0, collapse_variance=0.0)
    if score_se is None or snapshot.reached is None or snapshot.reached_se is None or snapshot.low is None:
        return none
    lost, learned = snapshot.reached - score, snapshot.reached - snapshot.low
    if not lost > LOST_SHARE * learned:
        return none
    return replace(
        snapshot,
        collapse_run=snapshot.collapse_run + 1,
        collapse_lost=snapshot.collapse_lost + lost,
        collapse_variance=snapshot.collapse_variance + score_se * score_se,
    )


def has_collapsed(snapshot: LoopSnapshot, config: LoopConfig) -> bool:
    """Whether the loss under way is a collapse, judged by the episodes behind the scores.

    :func:`examine_drop` takes the noise from the scores before, which a run that is still climbing steeply, or that was
    evaluated a few times only, does not tell from its own progress. Where much of the way from the lowest level (the
    untrained policy's) to what was reached twice is lost, and episodes alone explain that by no chance, nothing else is
    needed. What counts is the sum: the deeper the loss, the sooner it is known, and a mild one that stays is found too.
    """
    run = snapshot.collapse_run
    if (
        run < config.min_consecutive_degradations
        or snapshot.evaluations < config.min_episodes_before_degradation
    ):
        return False
    if snapshot.reached is None or snapshot.low is None:
        return False
    noise = math.hypot(math.sqrt(snapshot.collapse_variance), run * (snapshot.reached_se or 0.0))
    learned = snapshot.reached - snapshot.low
    return snapshot.collapse_lost > max(COLLAPSE_SUM * learned, COLLAPSE_SIGMAS * noise)


def _before_trouble(snapshot: LoopSnapshot, config: LoopConfig) -> tuple[float, ...]:
    """The scores to take the noise from: none of a possible drop, and soon after a rollback only those before it."""
    k, since = config.min_consecutive_degradations, 0
    if snapshot.rolled_back_at is not None:
        since = snapshot.evaluations - snapshot.rolled_back_at
    scores = snapshot.scores
    if k < since <= config.score_window and len(scores) - since >= config.score_window:
        return scores[:-since]
    return scores[:-k]


def _noise_before(scores: tuple[float, ...], config: LoopConfig) -> tuple[float, float]:
    """Standard deviation and autocorrelation of the noise in ``scores``.

    From the newest ones around a line, but no less than what the steps between all of them say, of which half
    the mean square is sd^2 (1 - r1): short stretches of heavy-tailed noise often look calm.
    """
    newest = scores[-NOISE_WINDOWS * config.score_window :]
    fit = fit_suffixes(newest, (len(newest),))
    r1 = float(fit.r1[0])
    steps = np.diff(scores)
    return max(float(fit.residual_sd[0]), math.sqrt(float(steps @ steps) / steps.size / 2.0 / (1.0 - r1))), r1


def _variance_of_mean(n: int, r1: float) -> float:
    """Variance of the mean of n values of an AR(1) process with unit variance."""
    if r1 == 0.0:
        return 1.0 / n
    # sum over lags of (n - |lag|) r1^|lag|, closed form
    return (n * (1.0 - r1 * r1) - 2.0 * r1 * (1.0 - r1**n)) / (n * n * (1.0 - r1) ** 2)


def _variance_of_path(n: int, r1: float) -> float:
    """Variance of the mean of the next n values of an AR(1) process with unit variance, given the value before them."""
    weights = [
        (1.0 - r1**m) / (1.0 - r1) for m in range(1, n + 1)
    ]  # of each innovation in the sum of n values
    return (1.0 - r1 * r1) * math.fsum(w * w for w in weights) / (n * n)


def _fixed_rule(snapshot: LoopSnapshot, config: LoopConfig, recent: tuple[float, ...]) -> Drop:
    degraded = all(below_fixed_threshold(snapshot, config, score) for score in recent)
    drop = 0.0 if snapshot.top is None else snapshot.top - max(recent)
    return Drop(degraded, drop, {"drop": drop})


def below_fixed_threshold(snapshot: LoopSnapshot, config: LoopConfig, score: float) -> bool:
    """The fixed rule: ``score`` < top - max(|top| (1 - degradation_threshold), min_degradation_drop)."""
    if snapshot.top is None or config.degradation_threshold is None:
        return False
    allowed = abs(snapshot.top) * (1.0 - config.degradation_threshold)
    return score < snapshot.top - max(allowed, config.min_degradation_drop or 0.0)
