"""Least-squares lines through the last n scores, for many n in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from optix_core.stats.autocorrelation import effective_sample_size, unbias_lag1

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_ROUNDING = 1e-13
"""Share of a suffix's total power below which its residual power is only rounding of the sums it is computed from."""


@dataclass(frozen=True, slots=True)
class SuffixFits:
    """Lines through suffixes of a sequence; every field is ``[G]``, one entry per suffix length.

    Attributes:
        n: Suffix lengths.
        mean: Mean of the suffix, relative to the sequence's last value.
        slope: Change per step, oldest to newest.
        residual_sd: Standard deviation around the line with ``n_eff - 2`` degrees of freedom.
        r1: Lag-1 autocorrelation of the residuals, corrected for the fit, in [0, 0.97].
        n_eff: Effective sample size.
        dof: Residual degrees of freedom, ``n_eff - 2``, at least 1.
        slope_se: Standard error of ``slope``.
    """

    n: NDArray[np.float64]
    mean: NDArray[np.float64]
    slope: NDArray[np.float64]
    residual_sd: NDArray[np.float64]
    r1: NDArray[np.float64]
    n_eff: NDArray[np.float64]
    dof: NDArray[np.float64]
    slope_se: NDArray[np.float64]


def fit_suffixes(scores: Sequence[float] | NDArray[np.float64], lengths: NDArray[np.int64]) -> SuffixFits:
    """Fit a line to each of the last ``lengths[g]`` values of ``scores``.

    Only differences to the last value enter, so adding a constant that is exact in floating point changes nothing, and
    multiplying by a power of two scales the results exactly. All suffixes share cumulative sums: O(n + G).

    The slope's variance is sigma^2 / (n_eff var(t)), sigma^2 = SSE/n * n_eff/(n_eff - 2): autocorrelation shrinks
    the information about the slope and about the noise alike.

    Args:
        scores: ``[n]`` finite, oldest first.
        lengths: ``[G]`` ascending, each within [3, n].
    """
    y = np.asarray(scores, dtype=np.float64)[::-1]
    y = y[: lengths[-1]] - y[0]  # newest first
    j = np.arange(y.size, dtype=np.float64)
    at = lengths - 1
    n = lengths.astype(np.float64)
    newest_to_oldest = np.empty((4, y.size))
    newest_to_oldest[0] = y
    np.multiply(j, y, out=newest_to_oldest[1])
    np.multiply(y, y, out=newest_to_oldest[2])
    newest_to_oldest[3, 0] = 0.0  # so that the sum up to index i holds the products of i neighbours
    np.multiply(y[:-1], y[1:], out=newest_to_oldest[3, 1:])
    sum_y, sum_jy, sum_yy, sum_lag = newest_to_oldest.cumsum(axis=1)[:, at]

    mean = sum_y / n
    centre = (n - 1.0) / 2.0
    sum_tt = n * (n * n - 1.0) / 12.0
    b = (sum_jy - centre * sum_y) / sum_tt  # per step into the past
    power = sum_yy - n * mean * mean
    sse = power - b * b * sum_tt
    sse = np.where(sse > _ROUNDING * sum_yy, sse, 0.0)

    # sum of e_i e_(i+1) over neighbours, e_i = y_i - a - b i, written in the sums above
    a = mean - b * centre
    last = y[at]
    m = n - 1.0
    first_y, first_jy = sum_y - last, sum_jy - at * last  # i = 0 .. n-2
    next_y = sum_y - y[0]  # y_(i+1)
    next_iy = sum_jy - next_y  # i * y_(i+1), y[0] has weight 0 in sum_jy
    sum_i, sum_ii = m * (m - 1.0) / 2.0, (m - 1.0) * m * (2.0 * m - 1.0) / 6.0
    lag = (
        sum_lag
        - a * (first_y + next_y)
        - b * (first_jy + first_y + next_iy)
        + a * a * m
        + a * b * (2.0 * sum_i + m)
        + b * b * (sum_ii + sum_i)
    )
    r1 = unbias_lag1(np.divide(lag, sse, out=np.zeros_like(sse), where=sse > 0.0), n)
    r1[sse == 0.0] = 0.0
    n_eff = effective_sample_size(n, r1)
    dof = np.maximum(n_eff - 2.0, 1.0)
    variance = sse / n * (n_eff / dof)
    return SuffixFits(
        n=n,
        mean=mean,
        slope=-b,
        residual_sd=np.sqrt(variance),
        r1=r1,
        n_eff=n_eff,
        dof=dof,
        slope_se=np.sqrt(variance * n / (n_eff * sum_tt)),
    )
