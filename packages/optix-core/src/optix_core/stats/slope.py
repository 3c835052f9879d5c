"""Least-squares lines through the last n scores, for many n in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from optix_core.stats.autocorrelation import effective_sample_size, unbias_lag1

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_ROUNDING = 1e-13
"""Share of a suffix's total power below which its residual power is only rounding of the sums it is computed from."""


@dataclass(frozen=True, slots=True)
class _Design:
    """What depends on the suffix lengths only."""

    at: NDArray[np.int64]
    n: NDArray[np.float64]
    steps: NDArray[np.float64]  # [longest] 0, 1, 2, ...
    centre: NDArray[np.float64]
    sum_tt: NDArray[np.float64]
    pairs: NDArray[np.float64]
    lag_ab: NDArray[np.float64]
    lag_bb: NDArray[np.float64]


@lru_cache(maxsize=2048)
def _design(lengths: tuple[int, ...]) -> _Design:
    at = np.array(lengths, dtype=np.int64) - 1
    n = np.array(lengths, dtype=np.float64)
    m: NDArray[np.float64] = n - 1.0
    sum_i, sum_ii = m * (m - 1.0) / 2.0, (m - 1.0) * m * (2.0 * m - 1.0) / 6.0
    return _Design(
        at=at,
        n=n,
        steps=np.arange(lengths[-1], dtype=np.float64),
        centre=np.asarray(m / 2.0, dtype=np.float64),
        sum_tt=n * (n * n - 1.0) / 12.0,
        pairs=m,
        lag_ab=2.0 * sum_i + m,
        lag_bb=sum_ii + sum_i,
    )


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


def fit_suffixes(scores: Sequence[float], lengths: tuple[int, ...]) -> SuffixFits:
    """Fit a line to each of the last ``lengths[g]`` values of ``scores``.

    Only differences to the last value enter, so adding a constant that is exact in floating point changes nothing, and
    multiplying by a power of two scales the results exactly. All suffixes share cumulative sums: O(n + G).

    The slope's variance is sigma^2 / (n_eff var(t)), sigma^2 = SSE/n * n_eff/(n_eff - 2): autocorrelation shrinks
    the information about the slope and about the noise alike.

    Args:
        scores: ``[n]`` finite, oldest first.
        lengths: Ascending, each within [3, n].
    """
    design = _design(lengths)
    at, n, centre, sum_tt = design.at, design.n, design.centre, design.sum_tt
    terms = np.empty((4, lengths[-1]))
    y = terms[0]
    y[:] = scores[: -lengths[-1] - 1 : -1]  # newest first
    y -= y[0]
    np.multiply(design.steps, y, out=terms[1])
    np.multiply(y, y, out=terms[2])
    terms[3, 0] = 0.0  # so that the sum up to index i holds the products of i neighbours
    np.multiply(y[:-1], y[1:], out=terms[3, 1:])
    sum_y, sum_jy, sum_yy, sum_lag = terms.cumsum(axis=1)[:, at]

    mean = sum_y / n
    b = (sum_jy - centre * sum_y) / sum_tt  # per step into the past
    sse = sum_yy - n * mean * mean - b * b * sum_tt
    sse[sse <= _ROUNDING * sum_yy] = 0.0

    # sum of e_i e_(i+1) over neighbours with e_i = y_i - a - b i, multiplied out; y_0 = 0, so that sums over
    # y_(i+1) are
    # those over y, and sums over y_i lack the last value
    a = mean - b * centre
    last = y[at]
    first_y = sum_y - last
    lag = (
        sum_lag
        - a * (first_y + sum_y)
        - b * (sum_jy - at * last + first_y + sum_jy - sum_y)
        + a * (a * design.pairs + b * design.lag_ab)
        + b * b * design.lag_bb
    )
    vanishing = sse == 0.0
    r1 = unbias_lag1(lag / np.where(vanishing, 1.0, sse), n)
    r1[vanishing] = 0.0
    n_eff = effective_sample_size(n, r1)
    dof = np.maximum(n_eff - 2.0, 1.0)
    variance = sse * n_eff / (n * dof)
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
