"""Lag-1 autocorrelation and what it leaves of a sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

MAX_AUTOCORRELATION = 0.97
"""Above this the AR(1) formulas have too little to go by; the effective sample size stops shrinking."""


def lag1_autocorrelation(residuals: ArrayLike) -> float:
    """r1 = sum(e_i e_(i+1)) / sum(e_i^2) of residuals with mean zero; 0 if they all vanish.

    Args:
        residuals: ``[n]``, what is left after the mean or a line was removed.
    """
    e = np.asarray(residuals, dtype=np.float64)
    power = float(e @ e)
    return 0.0 if power == 0.0 else float(e[:-1] @ e[1:]) / power


def unbias_lag1(r1: ArrayLike, n: ArrayLike) -> NDArray[np.float64]:
    """An approximately unbiased autocorrelation from residuals of a fitted line, within [0, MAX_AUTOCORRELATION].

    Fitting a line to n points of an AR(1) process pulls r1 down: E[r1] = phi - (2 + 4 phi) / n to first order
    (Kendall 1954 for
    the mean, with the second regressor added as in Marriott & Pope 1954). Solved for phi. Negative values are set
    to zero: anticorrelation would make
    intervals narrower, and short windows often show it by chance.
    """
    size = np.asarray(n, dtype=np.float64)
    corrected = (np.asarray(r1, dtype=np.float64) * size + 2.0) / np.maximum(size - 4.0, 1.0)
    return np.minimum(np.maximum(corrected, 0.0), MAX_AUTOCORRELATION)


def effective_sample_size(n: ArrayLike, r1: ArrayLike) -> NDArray[np.float64]:
    """How many independent values ``n`` values of an AR(1) process are worth: n (1 - r1) / (1 + r1), from 2 to n.

    Exact in the limit for the variance of a mean (Bartlett 1946) and of a regression slope on time. Negative r1
    counts as zero.
    """
    r = np.minimum(np.maximum(np.asarray(r1, dtype=np.float64), 0.0), MAX_AUTOCORRELATION)
    size = np.asarray(n, dtype=np.float64)
    return np.maximum(2.0, size * (1.0 - r) / (1.0 + r))
