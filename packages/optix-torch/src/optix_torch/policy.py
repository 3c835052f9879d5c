"""Acting through PyTorch, for networks that the numpy mirror does not know."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from optix_core.acting import LOG_STD_BOUNDS, heads
from optix_core.acting.policy import Normalizes, require_usable
from optix_core.errors import ConfigError
from optix_torch.flat import FlatParameters


class TorchPolicy:
    """Acts like :class:`optix_core.acting.NumpyPolicy`, with any module as its network.

    Args:
        actor: ``[B, *obs]`` to logits ``[B, A]``, or to means and log standard deviations ``[B, 2 A]``.
        head: Which of the two.
        n_actions: A, if it is known; a wrong number of outputs is refused then.
        flat: Tells device and type.
        observation_normalizer: Applied to raw observations first.
    """

    def __init__(
        self,
        actor: nn.Module,
        head: Literal["categorical", "gaussian"],
        n_actions: int | None,
        flat: FlatParameters,
        observation_normalizer: Normalizes | None = None,
    ) -> None:
        self._actor, self._flat = actor, flat
        self._categorical = head == "categorical"
        self._width = n_actions if n_actions is None or self._categorical else 2 * n_actions
        self.observation_normalizer = observation_normalizer

    def outputs(self, observations: NDArray[Any]) -> NDArray[Any]:
        """What the network gives for raw observations ``[N, *obs]``.

        Raises:
            NumericalDivergence: As for ``NumpyPolicy``.
            ConfigError: The network has the wrong number of outputs.
        """
        if self.observation_normalizer is not None:
            observations = self.observation_normalizer.normalize(observations)
        with torch.inference_mode():
            outputs = self._actor(self._flat.tensor(observations)).cpu().numpy()
        if outputs.ndim != 2 or (self._width is not None and outputs.shape[1] != self._width):
            raise ConfigError(
                f"the actor gave outputs of shape {outputs.shape} for {len(observations)} observations; expected "
                f"({len(observations)}, {self._width or 'number of actions'})"
            )
        if not math.isfinite(np.vdot(outputs, outputs)):
            require_usable(outputs, categorical=self._categorical)
        return outputs

    def act(
        self, observations: NDArray[Any], rng: np.random.Generator, *, deterministic: bool = False
    ) -> NDArray[Any]:
        """Policy actions for raw observations, a fresh array: int64 ``[N]``, or ``[N, A]`` unbounded."""
        outputs = self.outputs(observations)
        if self._categorical:
            return outputs.argmax(axis=1) if deterministic else heads.sample_categorical(outputs, rng)
        mean, log_std = np.split(outputs, 2, axis=1)
        return (
            mean.copy()
            if deterministic
            else heads.sample_gaussian(mean, np.clip(log_std, *LOG_STD_BOUNDS), rng)
        )

    def probabilities(self, observations: NDArray[Any]) -> NDArray[Any]:
        """Probabilities ``[N, A]`` of all actions; categorical policies only."""
        return np.exp(heads.categorical_log_probs(self.outputs(observations)))
