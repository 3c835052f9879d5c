"""Means and variances that can be merged, without cancellation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class Moments:
    """Count, mean and sum of squared deviations from the mean, per feature.

    Attributes:
        count: Number of samples, >= 0.
        mean: ``[*shape]`` float64.
        m2: ``[*shape]`` float64, >= 0.
    """

    count: float
    mean: NDArray[np.float64]
    m2: NDArray[np.float64]

    def variance(self, ddof: int = 0) -> NDArray[np.float64]:
        """``m2 / (count - ddof)``; zeros where there are not enough samples."""
        if self.count <= ddof:
            return np.zeros_like(self.m2)
        return self.m2 / (self.count - ddof)


def moments_of(samples: ArrayLike) -> Moments:
    """Moments over the first axis of ``samples`` ``[n, *shape]``."""
    x = np.asarray(samples, dtype=np.float64)
    if x.shape[0] == 0:
        zero: NDArray[Any] = np.zeros(x.shape[1:])
        return Moments(0.0, zero, zero.copy())
    mean = x.mean(axis=0)
    return Moments(float(x.shape[0]), np.asarray(mean), np.asarray(((x - mean) ** 2).sum(axis=0)))


def merge_moments(a: Moments, b: Moments) -> Moments:
    """Moments of both sample sets together (Chan, Golub & LeVeque 1979, eq. 1.5a and 1.5b)."""
    if a.count == 0:
        return b
    if b.count == 0:
        return a
    count = a.count + b.count
    delta = b.mean - a.mean
    return Moments(
        count,
        a.mean + delta * (b.count / count),
        a.m2 + b.m2 + delta * delta * (a.count * b.count / count),
    )
