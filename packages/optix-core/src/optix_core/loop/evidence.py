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

RESOLUTION = 0.5
"""A window is long enough when the half-width of its gain bound is at most this share of the gain that matters."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What :func:`examine` found.

    Attributes:
        rising: The score rises, by a one-sided t-test on at least one time scale.
        equivalent: The gain still to be expected is bounded below what would matter.
        numbers: The numbers behind both.
    """

    rising: bool
    equivalent: bool
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
    horizon = config.horizon_at(snapshot.evaluations)
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
        return Evidence(rising, False, numbers)
    constant = _constant_enough(snapshot, config)
    lengths = suffix_lengths(len(scores), config.trend_window)
    fits = fit_suffixes(scores, lengths)
    upper, half_width = gain_bounds(fits, horizon, config.confidence)

    scales = _octaves(lengths)
    level = 1.0 - (1.0 - normal_cdf(config.noise_k)) / len(scales)
    slope, se = fits.slope[scales], fits.slope_se[scales]
    rising = bool(np.any(slope > t_quantile(level, fits.dof[scales]) * se))

    noise = float(fits.residual_sd[-1])
    observed = max(snapshot.rise, noise)
    matters = config.gain_share * observed
    long_enough = (fits.n >= config.dormant_threshold) & (half_width <= RESOLUTION * matters)
    chosen = int(np.argmax(long_enough)) if bool(long_enough.any()) else len(lengths) - 1
    equivalent = False
    if constant:
        equivalent = True
        chosen = max(int(np.searchsorted(lengths, snapshot.constant_run, side="right")) - 1, 0)
    elif bool(long_enough[chosen]) and len(scores) >= config.dormant_threshold:
        equivalent = bool(upper[chosen] < matters) and not _newer_half_rises(lengths, fits, chosen, horizon, matters)
    numbers |= {
        "range": observed,
        "delta_abs": matters,
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
    return Evidence(rising and not equivalent, equivalent, numbers)


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
    """What :func:`examine_drop` found; differences are level minus recent mean, positive when the score fell."""

    degraded: bool
    numbers: dict[str, float | None]


def examine_drop(snapshot: LoopSnapshot, config: LoopConfig) -> Drop:
    """Whether the last ``min_consecutive_degradations`` scores lie below the best level, confirmed.

    All of them must lie below it by more than the smallest drop that counts, and their mean by more than ``degradation_sigmas``
    standard errors of the difference of the two means, noise and autocorrelation taken from the scores before them.
    """
    k = config.min_consecutive_degradations
    scores = snapshot.scores
    none = Drop(False, {})
    if snapshot.evaluations < max(config.min_episodes_before_degradation, 1) + k or len(scores) <= k + 4:
        return none
    recent = scores[-k:]
    if config.degradation_threshold is not None:
        return _fixed_rule(snapshot, config, recent)
    before = scores[-k - config.score_window : -k]
    anchor = before[-1]
    # the level stored in the snapshot is that of earlier windows; the newest one may be higher
    here = math.fsum(s - anchor for s in before) / len(before)
    level = here if snapshot.level is None else max(here, snapshot.level - anchor)
    highest = max(recent) - anchor
    floor = config.min_degradation_drop if config.min_degradation_drop is not None else 0.1 * snapshot.rise
    if not level - highest > floor:
        return none
    drop = level - math.fsum(s - anchor for s in recent) / k
    noise_from = scores[-k - 2 * config.score_window : -k]
    fit = fit_suffixes(noise_from, np.array([len(noise_from)]))
    sd, r1 = float(fit.residual_sd[0]), float(fit.r1[0])
    error = sd * math.sqrt(_variance_of_mean(k, r1) + _variance_of_mean(len(before), r1))
    return Drop(
        drop > config.degradation_sigmas * error,
        {"drop": drop, "drop_se": error, "drop_floor": floor, "noise_sd": sd, "r1": r1},
    )


def _variance_of_mean(n: int, r1: float) -> float:
    """Variance of the mean of n values of an AR(1) process with unit variance."""
    if r1 == 0.0:
        return 1.0 / n
    # sum over lags of (n - |lag|) r1^|lag|, closed form
    return (n * (1.0 - r1 * r1) - 2.0 * r1 * (1.0 - r1**n)) / (n * n * (1.0 - r1) ** 2)


def _fixed_rule(snapshot: LoopSnapshot, config: LoopConfig, recent: tuple[float, ...]) -> Drop:
    best = snapshot.top if snapshot.top is not None else -math.inf
    allowed = abs(best) * (1.0 - (config.degradation_threshold or 0.0))
    floor = max(allowed, config.min_degradation_drop or 0.0)
    return Drop(all(best - s > floor for s in recent), {"drop": best - max(recent), "drop_floor": floor})


def advice(numbers: dict[str, float | None], noise_sd: float, r1: float) -> str | None:
    """What the user can do if the noise is too large for any window to resolve the gain that matters."""
    delta, horizon = numbers.get("delta_abs"), numbers.get("horizon")
    if not delta or not horizon:
        return None
    needed = resolving_window(noise_sd, r1, horizon, RESOLUTION * delta)
    return f"validation noise {noise_sd:.3g} cannot resolve a gain of {delta:.3g} in {needed} evaluations or fewer"
