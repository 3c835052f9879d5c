"""What a history of evaluations shows, in shares of the observed range: unit and zero of scores never matter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optix_core.stats.slope import fit_suffixes
from optix_core.types import EvalMetrics

SHORTEST = 3
"""Fewer points have no line with a residual."""

_NOISELESS = 1e-9
"""Share of the range below which residuals are only rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """The line through the newest values, in shares of a range.

    Attributes:
        slope: Change per evaluation.
        slope_se: Its standard error, with autocorrelation taken into account; 0 on an exact line.
        residual_sd: Standard deviation around the line.
        dof: Residual degrees of freedom.
    """

    slope: float
    slope_se: float
    residual_sd: float
    dof: float


def finite(values: Sequence[float | None]) -> list[float]:
    """The numbers among ``values``; what is missing or not finite is no evidence."""
    return [float(v) for v in values if v is not None and math.isfinite(v)]


def scores(history: Sequence[EvalMetrics]) -> list[float]:
    """Finite primary scores, oldest first."""
    return finite([metrics.primary_score for metrics in history])


def gaps(history: Sequence[EvalMetrics]) -> list[float]:
    """Training score minus validation score, where both are known and finite, oldest first."""
    return finite([metrics.generalization_gap for metrics in history])


def observed_range(history: Sequence[EvalMetrics]) -> float:
    """Largest minus smallest score of a history, training and validation together; 0 without two different ones."""
    seen = scores(history)
    for name in ("train_score", "val_score"):
        values = [metrics.metrics.get(name) for metrics in history]
        seen += finite([float(v) if isinstance(v, int | float) else None for v in values])
    return max(seen) - min(seen) if seen else 0.0


def trend(values: Sequence[float], scale: float) -> Trend | None:
    """The line through ``values`` in shares of ``scale``; None for fewer than three values.

    Without any scale (nothing ever differed) everything is 0.
    """
    if len(values) < SHORTEST:
        return None
    if scale <= 0:
        return Trend(slope=0.0, slope_se=0.0, residual_sd=0.0, dof=float(len(values) - 2))
    fit = fit_suffixes(list((np.asarray(values, np.float64) - values[-1]) / scale), (len(values),))
    noise = float(fit.residual_sd[0])
    still = noise < _NOISELESS
    return Trend(
        slope=float(fit.slope[0]),
        slope_se=0.0 if still else float(fit.slope_se[0]),
        residual_sd=0.0 if still else noise,
        dof=float(fit.dof[0]),
    )


def correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Pearson's correlation; 1 where either does not vary, since nothing then speaks against agreement."""
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    a, b = a - a.mean(), b - b.mean()
    size = math.sqrt(float(a @ a) * float(b @ b))
    return 1.0 if size == 0.0 else float(a @ b) / size
