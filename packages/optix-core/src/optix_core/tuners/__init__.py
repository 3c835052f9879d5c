"""Tuners: what adjusts hyperparameters while training goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports

if TYPE_CHECKING:
    from optix_core.tuners.fixed import FixedOptimizer as FixedOptimizer
    from optix_core.tuners.space import Axis as Axis
    from optix_core.tuners.space import UnitSpace as UnitSpace
    from optix_core.tuners.spsa import SPSAOptimizer as SPSAOptimizer

_EXPORTS = {
    "Axis": ".space",
    "FixedOptimizer": ".fixed",
    "SPSAOptimizer": ".spsa",
    "UnitSpace": ".space",
}

__getattr__, __dir__, __all__ = lazy_exports(__name__, _EXPORTS)
