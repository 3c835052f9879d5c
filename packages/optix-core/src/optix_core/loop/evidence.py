"""What the score history shows: does it rise, and what gain is still to be expected.

Pure functions of the scores. Everything is computed from differences of scores and compared with other differences,
so the
answers don't depend on the task's unit or zero.
"""

from __future__ import annotations

import math
from bisect import bisect_left
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

    # what was climbed, and the noise around it, in which nobody would see a smaller gain
    observed = snapshot.rise + SPREAD * fits.residual_sd
    matters = config.gain_share * observed
    long_enough = (fits.n >= config.dormant_threshold) & (half_width <= RESOLUTION * matters)
    if snapshot.rolled_back_at is not None:
        # what was trained before a rollback is another line of training, perhaps from a better policy than the one
        # restored: at least two thirds of the window must lie after it
        long_enough &= 2.0 * fits.n <= 3.0 * (snapshot.evaluations - snapshot.rolled_back_at)
    chosen = int(np.argmax(long_enough)) if bool(long_enough.any()) else len(lengths) - 1
    threshold = float(matters[chosen])
    resolves = equivalent = constant
    if long_enough[chosen] and not constant:
        long_run = _long_run(fits, chosen, threshold, config)
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
    """What the whole history says: ``rising``, it may be a slow ramp; ``resolved``, it is long enough to tell."""

    rising: bool
    resolved: bool


def _long_run(fits: SuffixFits, chosen: int, matters: float, config: LoopConfig) -> LongRun:
    """Whether this may be a slow ramp in noise, seen from too near.

    If the chosen window is most of the history, no earlier rise stands out against which the present could be
    called flat; then
    the bound must also hold for a quarter of the time spent so far. Otherwise, if the whole history rises, the
    newest part must
    be clearly slower than half its rate. The question is asked anew at every evaluation of what may be a long slow
    climb, so its risk is a fifth of the usual.
    """
    n, slope, error = float(fits.n[-1]), float(fits.slope[-1]), float(fits.slope_se[-1])
    confidence = 1.0 - (1.0 - config.confidence) / 5.0
    if 2.0 * float(fits.n[chosen]) <= n:
        rises = slope > float(t_quantile(LENIENT, fits.dof[-1])) * error
        newest = float(fits.slope[chosen])
        newest += float(t_quantile(confidence, fits.dof[chosen])) * float(fits.slope_se[chosen])
        return LongRun(rising=rises and newest > 0.5 * slope, resolved=True)
    r1 = float(fits.r1[-1])
    more = min(r1 + math.sqrt((1.0 - r1 * r1) / n), MAX_AUTOCORRELATION)  # one standard error (Bartlett 1946)
    error *= math.sqrt((1.0 + more) * (1.0 - r1) / ((1.0 - more) * (1.0 + r1)))
    half_width = float(t_quantile(confidence, fits.dof[-1])) * error * n / LONG_RUN
    return LongRun(rising=slope * n / LONG_RUN + half_width > matters, resolved=half_width <= matters)


def _constant_enough(snapshot: LoopSnapshot, config: LoopConfig) -> bool:
    """Exactly equal scores at the end, for long enough to count as a ceiling or as a run that does not move."""
    run = snapshot.constant_run
    at_the_top = snapshot.rise > 0.0 and snapshot.scores[-1] == snapshot.top
    return run >= (config.plateau_threshold if at_the_top else 2 * config.dormant_threshold)
