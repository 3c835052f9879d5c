"""What the score history shows: does it rise, what gain is still to be expected, did it fall below its best level.

Pure functions of the scores. Everything is computed from differences of scores and compared with other differences,
so the
answers don't depend on the task's unit or zero.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from optix_core.stats.autocorrelation import MAX_AUTOCORRELATION
from optix_core.stats.equivalence import gain_bounds
from optix_core.stats.slope import SuffixFits, fit_suffixes
from optix_core.stats.student_t import normal_cdf, t_quantile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from optix_core.loop.config import LoopConfig
    from optix_core.loop.records import LoopSnapshot

SPREAD = 3.0
"""The observed range is what was climbed plus this many standard deviations of the noise."""

RESOLUTION = 0.5
"""A window is long enough when the half-width of its gain bound is at most this share of the gain that matters."""


LENIENT = 0.8
"""Confidence at which a rise is suspected, where a suspicion only means to go on for a while."""

LONG_RUN = 4.0
"""Where no earlier rise stands out, the gain is bounded over the time spent so far divided by this."""

STEP_FACTOR = 1.25
"""A jump must measure this much more than ``degradation_sigmas``, because one wild value carries on for a while."""

EACH_SIGMAS = 1.25
"""How far, in standard deviations of the noise, every single score of a drop must lie below the level."""

NOISE_WINDOWS = 2
"""The noise around a level is estimated from this many ``score_window``."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What :func:`examine` found.

    Attributes:
        rising: The score rises, by a one-sided t-test on at least one time scale.
        equivalent: The gain still to be expected is bounded below what would matter.
        near_best: The level is not significantly further than ``gap_threshold`` of the observed range below the
            best one.
        numbers: The numbers behind them.
    """

    rising: bool
    equivalent: bool
    near_best: bool = True
    numbers: dict[str, float | None] = field(default_factory=dict[str, "float | None"])


@lru_cache(maxsize=2048)
def suffix_lengths(available: int, shortest: int) -> tuple[int, ...]:
    """Window lengths to test, ascending: ``shortest`` times powers of 2^(1/3), and everything available."""
    lengths = {available}
    length = float(shortest)
    while length < available:
        lengths.add(round(length))
        length *= 2.0 ** (1.0 / 3.0)
    return tuple(sorted(lengths))


@lru_cache(maxsize=64)
def _octaves(count: int) -> NDArray[np.int64]:
    """Indices of every third of ``count`` lengths, the longest included: the scales on which a rise is tested."""
    return np.arange(count - 1, -1, -3)


def examine(snapshot: LoopSnapshot, config: LoopConfig) -> Evidence:
    """Test the scores of ``snapshot``, the newest included, for a rise and for convergence."""
    scores = snapshot.scores
    horizon = config.horizon_after(snapshot.rise_at)
    numbers: dict[str, float | None] = {
        "horizon": horizon,
        "delta": config.gain_share,
        "confidence": config.confidence,
        "range": snapshot.rise,
        "delta_abs": config.gain_share * snapshot.rise,
        "constant_run": snapshot.constant_run,
    }
    if len(scores) < config.trend_window:
        # too few for a test: the contract's rule for short histories, a new highest score
        rising = len(scores) == 1 or scores[-1] - max(scores[:-1]) > 0.0
        return Evidence(rising, False, numbers=numbers)
    constant = _constant_enough(snapshot, config)
    lengths = suffix_lengths(len(scores), config.trend_window)
    fits = fit_suffixes(scores, lengths)
    upper, half_width = gain_bounds(fits, horizon, config.confidence)

    scales = _octaves(len(lengths))
    level = 1.0 - (1.0 - normal_cdf(config.noise_k)) / len(scales)
    slope, se = fits.slope[scales], fits.slope_se[scales]
    rising = bool(np.any(slope > t_quantile(level, fits.dof[scales]) * se))

    # what was climbed, and the noise around it: a gain below a fifth of the noise is not worth looking for
    observed = snapshot.rise + SPREAD * fits.residual_sd
    matters = config.gain_share * observed
    long_enough = (fits.n >= config.dormant_threshold) & (half_width <= RESOLUTION * matters)
    chosen = int(np.argmax(long_enough)) if bool(long_enough.any()) else len(lengths) - 1
    threshold = float(matters[chosen])
    resolves = equivalent = constant
    if long_enough[chosen] and not constant:
        long_run = _long_run(fits, chosen, float(upper[chosen]) / horizon, threshold, config)
        resolves = long_run.resolved
        equivalent = (
            resolves
            and not long_run.rising
            and snapshot.constant_run < lengths[chosen]
            and bool(upper[chosen] < threshold)
            and not _newer_part_rises(lengths, fits, chosen, horizon, threshold)
        )
    numbers |= {
        "range": float(observed[chosen]),
        "delta_abs": threshold,
        "window": lengths[chosen],
        "slope": float(fits.slope[chosen]),
        "slope_se": float(fits.slope_se[chosen]),
        "gain_upper": float(upper[chosen]),
        "gain_half_width": float(half_width[chosen]),
        "r1": float(fits.r1[chosen]),
        "n_eff": float(fits.n_eff[chosen]),
        "noise_sd": float(fits.residual_sd[chosen]),
        "resolves": float(resolves),
    }
    if constant:  # exactly equal scores have neither slope nor noise
        run = snapshot.constant_run
        nothing = dict.fromkeys(("slope", "slope_se", "gain_upper", "gain_half_width", "r1", "noise_sd"), 0.0)
        numbers |= {"window": run, "n_eff": run, **nothing}
    near_best = True
    if equivalent and snapshot.level is not None:
        error = float(fits.residual_sd[chosen] / np.sqrt(fits.n_eff[chosen]))
        gap = (snapshot.level - scores[-1]) - float(fits.mean[chosen])
        numbers["gap"] = gap
        near_best = gap <= config.gap_threshold * float(observed[chosen]) + 2.0 * error
    return Evidence(rising and not equivalent, equivalent, near_best, numbers)


def _newer_part_rises(
    lengths: tuple[int, ...], fits: SuffixFits, chosen: int, horizon: float, matters: float
) -> bool:
    """Whether a shorter window, down to half, rises by what could matter: the bend that a long line hides."""
    newer = slice(bisect_left(lengths, max(lengths[chosen] // 2, lengths[0])), chosen + 1)
    slope = fits.slope[newer]
    shown = slope > t_quantile(0.9, fits.dof[newer]) * fits.slope_se[newer]
    return bool(np.any(shown & (slope * horizon > 0.3 * matters)))


@dataclass(frozen=True, slots=True)
class LongRun:
    """What the whole history says: ``rising``, this may be a slow ramp; ``resolved``, it is long enough to say otherwise."""

    rising: bool
    resolved: bool


def _long_run(
    fits: SuffixFits, chosen: int, slope_upper: float, matters: float, config: LoopConfig
) -> LongRun:
    """Whether this may be a slow ramp in noise, seen from too near.

    If the chosen window is most of the history, no earlier rise stands out against which the present could be
    called flat; then
    the bound must also hold for a quarter of the time spent so far. Otherwise, if the whole history rises, the
    newest part must
    be clearly slower than half its rate.
    """
    n, slope, error = float(fits.n[-1]), float(fits.slope[-1]), float(fits.slope_se[-1])
    if 2.0 * float(fits.n[chosen]) <= n:
        rises = slope > float(t_quantile(LENIENT, fits.dof[-1])) * error
        return LongRun(rising=rises and slope_upper > 0.5 * slope, resolved=True)
    # the question is asked anew at every evaluation of what may be a long slow start, so the risk is a fifth of the
    # usual,
    # and the autocorrelation is taken one standard error (Bartlett 1946) higher than estimated
    r1 = float(fits.r1[-1])
    more = min(r1 + math.sqrt((1.0 - r1 * r1) / n), MAX_AUTOCORRELATION)
    error *= math.sqrt((1.0 + more) * (1.0 - r1) / ((1.0 - more) * (1.0 + r1)))
    confidence = 1.0 - (1.0 - config.confidence) / 5.0
    half_width = float(t_quantile(confidence, fits.dof[-1])) * error * n / LONG_RUN
    return LongRun(rising=slope * n / LONG_RUN + half_width > matters, resolved=half_width <= matters)


def _constant_enough(snapshot: LoopSnapshot, config: LoopConfig) -> bool:
    """Exactly equal scores at the end, for long enough to count as a ceiling or as a run that does not move."""
    run = snapshot.constant_run
    at_the_top = snapshot.rise > 0.0 and snapshot.scores[-1] == snapshot.top
    return run >= (config.plateau_threshold if at_the_top else 2 * config.dormant_threshold)


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
