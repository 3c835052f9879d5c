"""Tuners: what adjusts hyperparameters while training goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports

if TYPE_CHECKING:
    from optix_core.tuners.adaptive import AdaptiveOptimizer as AdaptiveOptimizer
    from optix_core.tuners.backoff import BackoffOptimizer as BackoffOptimizer
    from optix_core.tuners.fixed import FixedOptimizer as FixedOptimizer
    from optix_core.tuners.momentum import MomentumOptimizer as MomentumOptimizer
    from optix_core.tuners.pbt import PBTOptimizer as PBTOptimizer
    from optix_core.tuners.replay import Change as Change
    from optix_core.tuners.replay import ScheduleReplay as ScheduleReplay
    from optix_core.tuners.space import Axis as Axis
    from optix_core.tuners.space import UnitSpace as UnitSpace
    from optix_core.tuners.spsa import SPSAOptimizer as SPSAOptimizer

_EXPORTS = {
    "AdaptiveOptimizer": ".adaptive",
    "Axis": ".space",
    "BackoffOptimizer": ".backoff",
    "Change": ".replay",
    "FixedOptimizer": ".fixed",
    "MomentumOptimizer": ".momentum",
    "PBTOptimizer": ".pbt",
    "SPSAOptimizer": ".spsa",
    "ScheduleReplay": ".replay",
    "UnitSpace": ".space",
}

__getattr__, __dir__, __all__ = lazy_exports(__name__, _EXPORTS)
