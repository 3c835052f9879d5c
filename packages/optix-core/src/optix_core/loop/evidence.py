"""What the score history shows: does it rise, what gain is still to be expected, did it fall below its best level.

Pure functions of the scores. Everything is computed from differences of scores and compared with other differences, so the
answers don't depend on the task's unit or zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from optix_core.stats.equivalence import gain_bounds, resolving_window
from optix_core.stats.slope import fit_suffixes
from optix_core.stats.student_t import normal_cdf, t_quantile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from optix_core.loop.config import LoopConfig
    from optix_core.loop.records import LoopSnapshot

SPREAD = 2.0
RESOLUTION = 0.5
"""A window is long enough when the half-width of its gain bound is at most this share of the gain that matters."""


NOISE_WINDOWS = 2

@dataclass(frozen=True, slots=True)
class Evidence:
    """What :func:`examine` found.

    Attributes:
        rising: The score rises, by a one-sided t-test on at least one time scale.
        equivalent: The gain still to be expected is bounded below what would matter.
        near_best: The level is not significantly further than ``gap_threshold`` of the observed range below the best one.
        numbers: The numbers behind them.
    """

    rising: bool
    equivalent: bool
    near_best: bool = True
    numbers: dict[str, float | None] = field(default_factory=dict[str, "float | None"])


@lru_cache(maxsize=1024)
def suffix_lengths(available: int, shortest: int) -> NDArray[np.int64]:
    """Window lengths to test, ascending: ``shortest`` times powers of 2^(1/3), and everything available."""
    lengths: set[int] = {available}
    length = float(shortest)
    while length < available:
        lengths.add(round(length))
        length *= 2.0 ** (1.0 / 3.0)
    made = np.array(sorted(lengths), dtype=np.int64)
    made.flags.writeable = False
    return made


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

    scales = _octaves(lengths)
    level = 1.0 - (1.0 - normal_cdf(config.noise_k)) / len(scales)
    slope, se = fits.slope[scales], fits.slope_se[scales]
    rising = bool(np.any(slope > t_quantile(level, fits.dof[scales]) * se))

    # what was climbed, and the noise around it: a gain below a fifth of the noise is not worth looking for
    observed = snapshot.rise + SPREAD * fits.residual_sd
    matters = config.gain_share * observed
    long_enough = (fits.n >= config.dormant_threshold) & (half_width <= RESOLUTION * matters)
    chosen = int(np.argmax(long_enough)) if bool(long_enough.any()) else len(lengths) - 1
    equivalent = False
    if constant:
        equivalent = True
        chosen = max(int(np.searchsorted(lengths, snapshot.constant_run, side="right")) - 1, 0)
    elif bool(long_enough[chosen]) and len(scores) >= config.dormant_threshold:
        equivalent = bool(upper[chosen] < matters[chosen]) and not _newer_half_rises(lengths, fits, chosen, horizon, matters)
    numbers |= {
        "range": float(observed[chosen]),
        "delta_abs": float(matters[chosen]),
        "window": float(lengths[chosen]),
        "slope": float(fits.slope[chosen]),
        "slope_se": float(fits.slope_se[chosen]),
        "gain_upper": float(upper[chosen]),
        "gain_half_width": float(half_width[chosen]),
        "r1": float(fits.r1[chosen]),
        "n_eff": float(fits.n_eff[chosen]),
        "noise_sd": float(fits.residual_sd[chosen]),
        "resolves": float(bool(constant or long_enough[chosen])),
    }
    near_best = True
    if equivalent and snapshot.level is not None:
        error = float(fits.residual_sd[chosen] / np.sqrt(fits.n_eff[chosen]))
        gap = (snapshot.level - scores[-1]) - float(fits.mean[chosen])
        numbers["gap"] = gap
        near_best = gap <= config.gap_threshold * float(observed[chosen]) + 2.0 * error
    return Evidence(rising and not equivalent, equivalent, near_best, numbers)


def _octaves(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices of about every third length, the longest included: the scales on which a rise is tested."""
    return np.arange(len(lengths) - 1, -1, -3)


def _newer_half_rises(lengths, fits, chosen: int, horizon: float, matters: float) -> bool:
    """Whether a shorter window shows, more likely than not, a gain that matters: the bend that a long line hides."""
    half = int(np.searchsorted(lengths, max(lengths[chosen] // 2, lengths[0])))
    t = t_quantile(0.8, fits.dof[half : chosen + 1])
    lower = (fits.slope[half : chosen + 1] - t * fits.slope_se[half : chosen + 1]) * horizon
    return bool(np.any(lower > 0.0))


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

    All of them must lie below it by more than the smallest drop that counts, and their mean by more than ``degradation_sigmas``
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
    level = math.fsum(s - anchor for s in before) / len(before)
    if snapshot.level is not None:
        level = max(level, snapshot.level - anchor)
    drop = level - math.fsum(s - anchor for s in recent) / k
    floor = config.min_degradation_drop if config.min_degradation_drop is not None else 0.1 * snapshot.rise
    if not level - (max(recent) - anchor) > floor:
        return Drop(False, drop)
    noise_from = scores[-k - int(NOISE_WINDOWS * config.score_window) : -k]
    fit = fit_suffixes(noise_from, np.array([len(noise_from)]))
    sd, r1 = float(fit.residual_sd[0]), float(fit.r1[0])
    error = sd * math.sqrt(_variance_of_mean(k, r1) + _variance_of_mean(len(before), r1))
    seen = math.sqrt(snapshot.drop_power / snapshot.drop_weight) if snapshot.drop_weight > 0.0 else 0.0
    scale = max(error, seen)
    return Drop(
        drop > config.degradation_sigmas * scale,
        drop,
        {"drop": drop, "drop_scale": scale, "drop_floor": floor, "noise_sd": sd, "r1": r1},
    )


def _variance_of_mean(n: int, r1: float) -> float:
    """Variance of the mean of n values of an AR(1) process with unit variance."""
    if r1 == 0.0:
        return 1.0 / n
    # sum over lags of (n - |lag|) r1^|lag|, closed form
    return (n * (1.0 - r1 * r1) - 2.0 * r1 * (1.0 - r1**n)) / (n * n * (1.0 - r1) ** 2)


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
