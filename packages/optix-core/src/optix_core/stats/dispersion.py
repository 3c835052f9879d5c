"""Spread of score sequences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core.stats.slope import fit_suffixes

if TYPE_CHECKING:
    from collections.abc import Sequence


def detrended_sd(values: Sequence[float]) -> float:
    """Standard deviation around the least-squares line; 0 for fewer than 3 values.

    The degrees of freedom are corrected for autocorrelation.
    """
    if len(values) < 3:
        return 0.0
    return float(fit_suffixes(values, (len(values),)).residual_sd[0])


def largest_rise(values: Sequence[float]) -> float:
    """The largest difference of a value to any earlier one, at least 0: what was climbed, not what was fallen."""
    rise, low = 0.0, float("inf")
    for value in values:
        low = min(low, value)
        rise = max(rise, value - low)
    return rise
