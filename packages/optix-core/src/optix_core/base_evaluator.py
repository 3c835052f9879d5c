"""The contract between the loop and whatever turns a window into a score."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from optix_core.types import EvalMetrics

if TYPE_CHECKING:
    from optix_core.types import EpisodeData


class BaseEvaluator(ABC):
    """Scores windows. Higher is better; NaN means that the window has no score."""

    @abstractmethod
    def score(self, episode_data: EpisodeData, train_diagnostics: Mapping[str, Any]) -> EvalMetrics:
        """Score a training window; ``train_diagnostics`` is what ``agent.learn`` returned."""

    def score_validation(self, episode_data: EpisodeData) -> EvalMetrics:
        """Score a validation window."""
        return self.score(episode_data, {})

    def combine(self, train: EvalMetrics, validation: EvalMetrics) -> EvalMetrics:
        """One result from both: the primary score and episode returns are those of validation.

        ``metrics`` holds ``train_*`` and ``val_*`` copies plus ``train_score``, ``val_score`` and
        ``generalization_gap``.
        """
        metrics: dict[str, Any] = {f"train_{key}": value for key, value in train.metrics.items()}
        metrics |= {f"val_{key}": value for key, value in validation.metrics.items()}
        metrics["train_score"] = train.primary_score
        metrics["val_score"] = validation.primary_score
        metrics["generalization_gap"] = train.primary_score - validation.primary_score
        return EvalMetrics(
            primary_score=validation.primary_score,
            metrics=metrics,
            episode_id=train.episode_id,
            episode_returns=validation.episode_returns,
        )

    def compare(self, candidate: EvalMetrics, baseline: EvalMetrics) -> bool:
        """Whether ``candidate`` is better."""
        return candidate.beats(baseline)
