"""Evaluators: how a window becomes a score."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports

if TYPE_CHECKING:
    from optix_core.evaluators.mean_return import MeanReturnEvaluator as MeanReturnEvaluator

__getattr__, __dir__, __all__ = lazy_exports(__name__, {"MeanReturnEvaluator": ".mean_return"})
