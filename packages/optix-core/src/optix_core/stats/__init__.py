"""Statistics of score sequences: pure functions of arrays, no state, no randomness."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports

if TYPE_CHECKING:
    from optix_core.stats.autocorrelation import effective_sample_size as effective_sample_size
    from optix_core.stats.autocorrelation import lag1_autocorrelation as lag1_autocorrelation
    from optix_core.stats.autocorrelation import unbias_lag1 as unbias_lag1
    from optix_core.stats.dispersion import detrended_sd as detrended_sd
    from optix_core.stats.dispersion import largest_rise as largest_rise
    from optix_core.stats.equivalence import gain_bounds as gain_bounds
    from optix_core.stats.equivalence import resolving_window as resolving_window
    from optix_core.stats.slope import SuffixFits as SuffixFits
    from optix_core.stats.slope import fit_suffixes as fit_suffixes
    from optix_core.stats.student_t import t_quantile as t_quantile
    from optix_core.stats.student_t import t_survival as t_survival
    from optix_core.stats.welford import Moments as Moments
    from optix_core.stats.welford import merge_moments as merge_moments
    from optix_core.stats.welford import moments_of as moments_of

_EXPORTS = {
    "Moments": ".welford",
    "SuffixFits": ".slope",
    "detrended_sd": ".dispersion",
    "effective_sample_size": ".autocorrelation",
    "fit_suffixes": ".slope",
    "gain_bounds": ".equivalence",
    "lag1_autocorrelation": ".autocorrelation",
    "largest_rise": ".dispersion",
    "merge_moments": ".welford",
    "moments_of": ".welford",
    "resolving_window": ".equivalence",
    "t_quantile": ".student_t",
    "t_survival": ".student_t",
    "unbias_lag1": ".autocorrelation",
}

__getattr__, __dir__, __all__ = lazy_exports(__name__, _EXPORTS)
