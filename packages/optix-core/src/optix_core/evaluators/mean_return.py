"""The mean return of complete episodes: the default score."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from optix_core.base_evaluator import BaseEvaluator
from optix_core.state import State
from optix_core.types import EpisodeData, EpisodeRecord, EvalMetrics

PrimaryScoreFn = Callable[[EpisodeData, Mapping[str, Any]], float]


class MeanReturnEvaluator(BaseEvaluator):
    """Scores a window by the mean return of the episodes that ended in it, each counted whole.

    An episode that began in an earlier window counts with all its rewards. A window in which no episode ended has
    no score (NaN): a part of an episode is on another scale. Pipelines of optix record complete episodes
    themselves; for windows from elsewhere the evaluator carries the running return of every environment from
    window to window.

    Metrics: ``primary_score``, ``total_reward``, ``mean_reward`` and ``reward_std`` (per step; population),
    ``episode_length`` (T of the window), ``n_episodes``, ``episode_return_std`` (population), ``mean_episode_length``,
    and every int or float of the training diagnostics under its own name.

    Args:
        primary_score_fn: ``(window, train_diagnostics) -> float`` to maximise instead of the mean return.
    """

    def __init__(self, primary_score_fn: PrimaryScoreFn | None = None) -> None:
        self._primary_score_fn = primary_score_fn
        self._training, self._validation = _RunningEpisodes(), _RunningEpisodes()

    def score(self, episode_data: EpisodeData, train_diagnostics: Mapping[str, Any]) -> EvalMetrics:
        """Score a training window; windows must come in the order in which they were collected."""
        return self._score(episode_data, train_diagnostics, self._training)

    def score_validation(self, episode_data: EpisodeData) -> EvalMetrics:
        """Score a validation window; running episodes of training are not touched."""
        return self._score(episode_data, {}, self._validation)

    def _score(
        self, data: EpisodeData, diagnostics: Mapping[str, Any], running: _RunningEpisodes
    ) -> EvalMetrics:
        episodes = running.completed_in(data)
        returns = [episode.episode_return for episode in episodes]
        if self._primary_score_fn is not None:
            primary = float(self._primary_score_fn(data, diagnostics))
        else:
            primary = math.fsum(returns) / len(returns) if returns else math.nan
        rewards = data.rewards
        metrics: dict[str, Any] = {
            name: value
            for name, value in diagnostics.items()
            if isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
        }
        metrics |= {
            "primary_score": primary,
            "total_reward": data.total_reward,
            "mean_reward": float(rewards.mean()) if rewards.size else math.nan,
            "reward_std": float(rewards.std()) if rewards.size else math.nan,
            "episode_length": data.length,
            "n_episodes": len(episodes),
            "episode_return_std": float(np.std(returns)) if returns else math.nan,
            "mean_episode_length": float(np.mean([e.length for e in episodes])) if episodes else math.nan,
        }
        return EvalMetrics(
            primary_score=primary, metrics=metrics, episode_id=data.episode_id, episode_returns=tuple(returns)
        )

    def state_dict(self) -> State:
        """Running returns and lengths of unfinished episodes, for windows without episode records."""
        return {"training": self._training.state_dict(), "validation": self._validation.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue with them."""
        training, validation = _RunningEpisodes(), _RunningEpisodes()
        training.load_state_dict(state["training"])
        validation.load_state_dict(state["validation"])
        self._training, self._validation = training, validation


class _RunningEpisodes:
    """Return and length so far of the unfinished episode of every environment."""

    def __init__(self) -> None:
        self._returns: list[float] = []
        self._lengths: list[int] = []

    def completed_in(self, data: EpisodeData) -> tuple[EpisodeRecord, ...]:
        """The episodes that ended in ``data``, in order of their ends; unfinished ones are carried on."""
        if data.episodes or data.metadata.get("episode_records"):
            # The source keeps the books. What was carried here belongs to another source.
            self._returns, self._lengths = [], []
            return data.episodes
        rewards = data.time_major("rewards")
        ends = data.time_major("terminated") | data.time_major("truncated")
        terminated = data.time_major("terminated")
        n_envs = rewards.shape[1]
        if len(self._returns) != n_envs:
            self._returns, self._lengths = [0.0] * n_envs, [0] * n_envs
        records: list[EpisodeRecord] = []
        begun = [0] * n_envs
        for t, n in np.argwhere(ends).tolist():
            records.append(
                EpisodeRecord(
                    env_index=n,
                    step=t,
                    episode_return=self._returns[n] + float(rewards[begun[n] : t + 1, n].sum()),
                    length=self._lengths[n] + t + 1 - begun[n],
                    terminated=bool(terminated[t, n]),
                )
            )
            self._returns[n], self._lengths[n], begun[n] = 0.0, 0, t + 1
        for n in range(n_envs):
            self._returns[n] += float(rewards[begun[n] :, n].sum())
            self._lengths[n] += len(rewards) - begun[n]
        return tuple(records)

    def state_dict(self) -> State:
        return {"returns": list(self._returns), "lengths": list(self._lengths)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._returns = [float(x) for x in state["returns"]]
        self._lengths = [int(x) for x in state["lengths"]]
