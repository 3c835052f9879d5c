"""How sure is a mean return, and which of two policies returned more?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optix_core.stats.student_t import exact_t_quantile

MIN_EPISODES = 3
"""Fewer episodes say nothing about their own spread: no interval is given then."""

_ROUND_OFF = 1e-12  # relative to the largest return: below this a difference is floating-point noise


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Mean return of branch a minus that of branch b, with a confidence interval.

    Attributes:
        difference: The estimate, in units of return.
        low: Lower end of the interval; minus infinity when there are too few episodes.
        high: Upper end.
        episodes: How many episodes (pairs) were compared.
    """

    difference: float
    low: float
    high: float
    episodes: int

    @property
    def decided(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanInterval:
    """A mean with a two-sided confidence interval.

    Attributes:
        mean: The estimate.
        low: Lower end; minus infinity when there are too few values.
        high: Upper end.
        n: How many values.
    """

    mean: float
    low: float
    high: float
    n: int


def mean_interval(values: Sequence[float], *, confidence: float = 0.95) -> MeanInterval:
    """Student's interval of the mean of ``values`` (at least one, finite)."""
    x = np.asarray(values, np.float64)
    mean = float(x.mean())
    if x.size < MIN_EPISODES:
        return MeanInterval(mean=mean, low=-math.inf, high=math.inf, n=x.size)
    error = float(x.std(ddof=1)) / math.sqrt(x.size)
    half = exact_t_quantile(0.5 + confidence / 2, float(x.size - 1)) * error if error > 0 else 0.0
    return MeanInterval(mean=mean, low=mean - half, high=mean + half, n=x.size)


def compare_returns(a: Sequence[float], b: Sequence[float], *, paired: bool, confidence: float) -> Comparison:
    """Two-sided Student interval of the mean difference: of the pairs, or by Welch for independent samples.

    Args:
        a: Episode returns of one branch, at least one, finite.
        b: Episode returns of the other.
        paired: Index i of both is the same episode.
        confidence: Probability that the interval covers the true difference, in (0, 1).

    Raises:
        ValueError: Paired samples differ in length.
    """
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if paired and x.size != y.size:
        raise ValueError(f"paired episodes must be equally many in both branches; got {x.size} and {y.size}")
    episodes = min(x.size, y.size)
    largest = float(max(np.abs(x).max(), np.abs(y).max()))
    differences = x - y if paired else None
    difference = float(differences.mean() if differences is not None else x.mean() - y.mean())
    if abs(difference) <= _ROUND_OFF * largest:
        difference = 0.0
    if episodes < MIN_EPISODES:
        return Comparison(difference=difference, low=-math.inf, high=math.inf, episodes=episodes)
    if differences is not None:
        error, freedom = float(differences.std(ddof=1)) / math.sqrt(episodes), float(episodes - 1)
    else:
        error, freedom = _welch(x, y)
    half = exact_t_quantile(0.5 + confidence / 2, freedom) * error if error > 0 else 0.0
    return Comparison(difference=difference, low=difference - half, high=difference + half, episodes=episodes)


def _welch(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Standard error and Welch-Satterthwaite degrees of freedom of the difference of two means."""
    vx, vy = float(x.var(ddof=1)) / x.size, float(y.var(ddof=1)) / y.size
    total = vx + vy
    if total == 0:
        return 0.0, float(x.size + y.size - 2)
    return math.sqrt(total), total**2 / (vx**2 / (x.size - 1) + vy**2 / (y.size - 1))
