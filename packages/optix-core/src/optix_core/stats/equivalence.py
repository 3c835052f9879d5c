"""Is a run still worth continuing? An upper bound of the gain to come, to be compared with what would matter.

Convergence is declared by *equivalence* (the gain is shown to be small), never by failing to show that it is large:
more noise then means going on, not stopping.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from optix_core.stats.student_t import t_quantile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from optix_core.stats.slope import SuffixFits


def gain_bounds(
    fits: SuffixFits, horizon: float, confidence: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Upper confidence bound of the gain over ``horizon`` more steps, and its half-width, per suffix.

    bound = slope * horizon + half_width, half_width = t(confidence; n_eff - 2) * se(slope) * horizon.

    Args:
        fits: Lines through suffixes.
        horizon: Steps ahead, > 0.
        confidence: One-sided, in (0.5, 1).
    """
    half_width = t_quantile(confidence, fits.dof) * fits.slope_se * horizon
    return fits.slope * horizon + half_width, half_width


def resolving_window(
    noise_sd: float, r1: float, horizon: float, delta: float, confidence: float = 0.95
) -> int:
    """The shortest window whose half-width of the gain bound is at most ``delta``, for noise of this kind.

    Solves t * horizon * noise_sd * sqrt(12 (1 + r1) / (1 - r1)) / n^1.5 = delta for n (var(t) = n^2/12), with the
    t quantile taken at the solution.

    Args:
        noise_sd: Standard deviation of a score around its trend, >= 0.
        r1: Its lag-1 autocorrelation, in [0, 1).
        horizon: Steps ahead.
        delta: The gain that matters, > 0, in score units.
        confidence: One-sided.
    """
    if noise_sd == 0.0:
        return 3
    inflation = math.sqrt(12.0 * (1.0 + r1) / (1.0 - r1))
    n = 3.0
    for _ in range(50):
        dof = max(n * (1.0 - r1) / (1.0 + r1) - 2.0, 1.0)
        following = (float(t_quantile(confidence, dof)) * horizon * noise_sd * inflation / delta) ** (
            2.0 / 3.0
        )
        following = max(3.0, following)
        if abs(following - n) < 0.5:
            n = following
            break
        n = 0.5 * (n + following)
    return math.ceil(n)
