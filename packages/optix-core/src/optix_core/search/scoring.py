"""One number from the scores of several seeds, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from optix_core.errors import ConfigError
from optix_core.seeding import Domain, generator
from optix_core.stats.comparison import MIN_EPISODES, MeanInterval, mean_interval

Aggregate = Literal["mean", "iqm"]
RESAMPLES = 2000


def check_aggregate(how: str) -> None:
    """Refuse what :func:`aggregated` does not know.

    Raises:
        ConfigError: It is neither ``"mean"`` nor ``"iqm"``.
    """
    if how not in get_args(Aggregate):
        raise ConfigError(f"aggregate is {how!r}; it must be one of {', '.join(get_args(Aggregate))}")


def aggregated(scores: Sequence[float], how: Aggregate = "mean") -> float:
    """The mean, or the interquartile mean, of at least one score.

    The interquartile mean (Agarwal et al. 2021, arXiv:2108.13264) leaves out the lowest and the highest quarter; where
    a quarter is no whole number of scores, the score at its border counts in part. For fewer than three it is the mean.
    """
    values = np.sort(np.asarray(scores, np.float64))
    return float(values @ _weights(values.size, how))


def _weights(n: int, how: Aggregate) -> NDArray[np.float64]:
    """``[n]``: what each of ``n`` scores in ascending order counts; sums to 1."""
    if how == "mean" or n < 3:
        return np.full(n, 1 / n)
    edges = np.arange(n + 1, dtype=np.float64)
    inside = np.minimum(edges[1:], n * 3 / 4) - np.maximum(edges[:-1], n / 4)
    return np.clip(inside, 0.0, None) / (n / 2)


def interval_of(
    scores: Sequence[float], how: Aggregate = "mean", *, confidence: float = 0.95
) -> MeanInterval:
    """The aggregate of ``scores`` with its interval: Student's for a mean, by percentile bootstrap for the other.

    With fewer than three scores the interval is unbounded.
    """
    if how == "mean":
        return mean_interval(scores, confidence=confidence)
    centre = aggregated(scores, how)
    if len(scores) < MIN_EPISODES:
        return MeanInterval(mean=centre, low=-math.inf, high=math.inf, n=len(scores))
    values = np.asarray(scores, np.float64)
    rng = generator(0, Domain.CONFIRMATION, values.size)  # the same scores always give the same interval
    drawn = values[rng.integers(values.size, size=(RESAMPLES, values.size))]
    means = np.sort(drawn, axis=1) @ _weights(values.size, how)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return MeanInterval(mean=centre, low=float(low), high=float(high), n=values.size)
