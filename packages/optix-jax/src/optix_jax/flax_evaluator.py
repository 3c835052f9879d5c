"""The default evaluator under the name that Flax users know."""

from __future__ import annotations

from optix_core.evaluators.mean_return import MeanReturnEvaluator


class FlaxEvaluator(MeanReturnEvaluator):
    """Mean return of complete episodes, each counted whole; nothing in it is specific to JAX.

    Args:
        primary_score_fn: ``(window, train_diagnostics) -> float`` to maximise instead.
    """
