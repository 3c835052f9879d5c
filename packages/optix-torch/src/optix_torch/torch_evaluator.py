"""The default evaluator under the name that PyTorch users know."""

from __future__ import annotations

from optix_core.evaluators.mean_return import MeanReturnEvaluator


class TorchEvaluator(MeanReturnEvaluator):
    """Mean return of complete episodes, each counted whole; nothing in it is specific to PyTorch.

    Args:
        primary_score_fn: ``(window, train_diagnostics) -> float`` to maximise instead.
    """
