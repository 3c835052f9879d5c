"""Reasons to go where nothing is known yet, kept apart from what counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports

if TYPE_CHECKING:
    from optix_core.exploration.rnd import RandomNetworkDistillation as RandomNetworkDistillation
    from optix_core.exploration.rnd_pipeline import RNDPipeline as RNDPipeline

__getattr__, __dir__, __all__ = lazy_exports(
    __name__, {"RNDPipeline": ".rnd_pipeline", "RandomNetworkDistillation": ".rnd"}
)
