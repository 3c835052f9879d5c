"""The tuner that does not tune: hyperparameters stay as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core.base_optimizer import BaseOptimizer

if TYPE_CHECKING:
    from optix_core.types import History, HyperparamSet


class FixedOptimizer(BaseOptimizer):
    """Leaves every hyperparameter alone; also the control arm of any claim that tuning helps."""

    def suggest(self, current_hyperparams: HyperparamSet, metrics_history: History) -> HyperparamSet:
        """An unchanged copy of ``current_hyperparams``."""
        del metrics_history
        return current_hyperparams.copy()
