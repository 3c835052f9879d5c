"""What the agents that train any model of a user's share: they act by its logits, and learn from a window's returns.

Where values are known, targets are advantages (advantage actor-critic); where none are, returns (REINFORCE, Williams
1992, doi:10.1007/BF00992696). The gradient step is the framework's.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from optix_core.acting import heads
from optix_core.agents.stored_agent import StoredAgent
from optix_core.rl.batching import standardize
from optix_core.rl.returns import discounted_returns, explained_variance
from optix_core.rl.successors import next_values, rows, successors
from optix_core.types import EpisodeData

Predict = Callable[[NDArray[Any]], NDArray[Any] | None]
"""``[B, *obs]`` to the model's values ``[B]``; None where it has none."""


class ModelAgent(StoredAgent):
    """Acts by the logits that a model gives to discrete actions."""

    accepts_intrinsic_rewards = True

    @abstractmethod
    def _logits(self, observations: NDArray[Any]) -> NDArray[Any]:
        """``[N, A]`` for observations ``[N, *obs]``."""

    @abstractmethod
    def _row(self, observation: Any) -> NDArray[Any]:
        """One observation as ``[1, *obs]``."""

    def act(self, observation: Any, *, deterministic: bool = False) -> int:
        """An action for one observation; drawn from a stream of its own, so that training never notices."""
        return int(self._choose(self._row(observation), self._streams.single, deterministic=deterministic)[0])

    def act_batch(self, observations: NDArray[Any], *, deterministic: bool = False) -> NDArray[np.int64]:
        """Actions ``[N]`` for observations ``[N, *obs]``: drawn from the policy, or its most probable ones."""
        return self._choose(observations, self._streams.policy, deterministic=deterministic)

    def env_actions(self, actions: NDArray[Any]) -> NDArray[Any]:
        """The same actions."""
        return actions

    def action_probs(self, observation: Any) -> NDArray[Any]:
        """Probabilities ``[A]`` of all actions for one observation."""
        return np.exp(heads.categorical_log_probs(self._logits(self._row(observation))))[0]

    def action_probs_batch(self, observations: NDArray[Any]) -> NDArray[Any]:
        """The same ``[N, A]`` for observations ``[N, *obs]``."""
        return np.exp(heads.categorical_log_probs(self._logits(observations)))

    def _choose(
        self, observations: NDArray[Any], rng: np.random.Generator, *, deterministic: bool
    ) -> NDArray[np.int64]:
        logits = self._logits(observations)
        if deterministic:
            return cast("NDArray[np.int64]", logits.argmax(axis=1))
        return heads.sample_categorical(logits, rng)


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What a window's actions are rewarded by.

    Attributes:
        returns: ``[T, N]``, discounted, with what follows the window's end and time limits where it is known.
        weights: ``[T * N]``, of the actions: advantages, or returns where no values are known; standardised.
        values: ``[T, N]`` of the observations; None where nothing is known.
    """

    returns: NDArray[Any]
    weights: NDArray[Any]
    values: NDArray[Any] | None

    def report(self, loss: float, grad_norm: float) -> dict[str, Any]:
        """What ``learn`` returns after one gradient step, which is made where the norm is finite."""
        stepped = math.isfinite(grad_norm)
        explained = 0.0
        if self.values is not None:
            explained = np.nan_to_num(explained_variance(self.values, self.returns), nan=0.0)
        return {
            "loss": loss if stepped else math.nan,
            "grad_norm": grad_norm,
            "baseline_type": "reinforce" if self.values is None else "a2c",
            "explained_variance": float(explained),
            "n_updates": int(stepped),
        }


def targets_of(window: EpisodeData, predict: Predict, *, gamma: float) -> Targets:
    """Targets of a window of at least one step.

    Args:
        window: If the model has no values, those that it recorded are used.
        predict: The model's values.
        gamma: Discount.
    """
    values, following = _values(window, predict)
    returns = discounted_returns(
        window.time_major("learning_rewards"),
        np.zeros(window.time_major("rewards").shape) if following is None else following,
        window.time_major("terminated"),
        window.time_major("dones"),
        gamma=gamma,
    )
    weights = standardize(returns if values is None else returns - values).reshape(-1)
    return Targets(returns=returns, weights=weights, values=values)


def _values(window: EpisodeData, predict: Predict) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    """Values ``[T, N]`` of the window's observations and of their successors, None where nothing is known."""
    predicted = predict(rows(window, "observations"))
    if predicted is not None:
        values = predicted.reshape(window.time_major("rewards").shape)
        after = predict(successors(window))
        assert after is not None
        return values, next_values(window, values, after)
    if window.values is None:
        return None, None
    recorded = window.time_major("values")
    return recorded, recorded
