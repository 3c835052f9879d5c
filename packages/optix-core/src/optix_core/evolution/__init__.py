"""Ensembles of policies, and variants that let a run go on after it has converged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports

if TYPE_CHECKING:
    from optix_core.evolution.ensemble_agent import EnsembleAgent as EnsembleAgent
    from optix_core.evolution.meta_controller import MetaAction as MetaAction
    from optix_core.evolution.meta_controller import MetaController as MetaController
    from optix_core.evolution.policy_manager import PolicyManager as PolicyManager
    from optix_core.evolution.policy_manager_callback import PolicyManagerCallback as PolicyManagerCallback
    from optix_core.evolution.regime_detector import RegimeDetector as RegimeDetector

_EXPORTS = {
    "EnsembleAgent": ".ensemble_agent",
    "MetaAction": ".meta_controller",
    "MetaController": ".meta_controller",
    "PolicyManager": ".policy_manager",
    "PolicyManagerCallback": ".policy_manager_callback",
    "RegimeDetector": ".regime_detector",
}

__getattr__, __dir__, __all__ = lazy_exports(__name__, _EXPORTS)
