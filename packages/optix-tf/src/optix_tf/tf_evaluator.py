"""The default evaluator under the name that TensorFlow users know, with the weighting that older code asks for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from optix_core.errors import ConfigError
from optix_core.evaluators.mean_return import MeanReturnEvaluator, PrimaryScoreFn
from optix_core.types import EpisodeData


class TFEvaluator(MeanReturnEvaluator):
    """Mean return of complete episodes, each counted whole; nothing in it is specific to TensorFlow.

    Where any of the weights is given, windows are scored by the weighting of older code instead:
    ``w_r * mean + w_s * (-std) + w_l * T / max_episode_length`` with the mean and the (population) deviation of the
    rewards of single steps, T the steps of the window, and weights that are divided by their sum. It compares windows
    of one length only, and knows nothing of episodes; the mean return is nearly always the better score.

    Args:
        reward_weight: w_r, at least 0; 1 if only others are given.
        stability_weight: w_s, at least 0; 1 if only others are given.
        length_weight: w_l, at least 0; 0 if only others are given.
        primary_score_fn: ``(window, train_diagnostics) -> float`` to maximise instead of either.
        max_episode_length: At least 1.

    Raises:
        ConfigError: The weights do not add up to something positive, one is negative or not finite, or the length is
            not positive. It is a ``ValueError`` too.
    """

    def __init__(
        self,
        reward_weight: float | None = None,
        stability_weight: float | None = None,
        length_weight: float | None = None,
        primary_score_fn: PrimaryScoreFn | None = None,
        max_episode_length: int = 1000,
    ) -> None:
        given = (reward_weight, stability_weight, length_weight)
        weights = [
            default if weight is None else float(weight)
            for weight, default in zip(given, (1.0, 1.0, 0.0), strict=True)
        ]
        total = math.fsum(weights)
        if not (total > 0 and min(weights) >= 0 and math.isfinite(total)):
            raise ConfigError(
                f"the weights are {', '.join(map(str, weights))}; they must be at least 0 and not all 0"
            )
        if max_episode_length < 1:
            raise ConfigError(f"max_episode_length is {max_episode_length}; it must be at least 1")
        self._weights = tuple(weight / total for weight in weights)
        self._max_episode_length = max_episode_length
        weighted = any(weight is not None for weight in given)
        super().__init__(self._weighted if primary_score_fn is None and weighted else primary_score_fn)

    def _weighted(self, window: EpisodeData, diagnostics: Mapping[str, Any]) -> float:
        del diagnostics
        rewards = window.rewards
        if not rewards.size:
            return math.nan
        reward, stability, length = self._weights
        share = window.length / self._max_episode_length
        return reward * float(rewards.mean()) - stability * float(rewards.std()) + length * share
