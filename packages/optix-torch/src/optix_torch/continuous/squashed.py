"""Gaussian policies squashed into [-1, 1] by tanh (Haarnoja et al. 2018, arXiv:1812.05905, appendix C).

The density of ``a = tanh(u)`` is that of u divided by ``1 - tanh(u)^2``, whose logarithm is computed as
``2 (log 2 - u - softplus(-2u))``, written with |u| because it is even: exact for every u, where
``log(1 - a^2 + 1e-6)`` stops at -13.8.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.agents.squashed import LOG_STD_BOUNDS
from optix_core.agents.squashed import act as act
from optix_core.agents.squashed import describe as describe

Array = NDArray[Any]

_LOG_2_PI, _LOG_2 = math.log(2.0 * math.pi), math.log(2.0)


@dataclass(frozen=True, slots=True)
class Sample:
    """Draws ``a = tanh(mean + std * noise)`` and how they depend on the network's outputs.

    Attributes:
        actions: ``[B, A]``.
        log_probs: ``[B]``, their log-densities.
        spread: ``[B, A]``, std * noise.
        inside: ``[B, A]``, 1 where the clamp did not bind, else 0.
    """

    actions: Array
    log_probs: Array
    spread: Array
    inside: Array

    def gradient(self, by_actions: Array, by_log_probs: float) -> Array:
        """Derivative of a loss by the outputs, ``[B, 2 A]``.

        With u = mean + spread: da/du = 1 - a^2, and d log p/du = 2 a, since 2 - 4 sigmoid(-2u) = 2 tanh(u).

        Args:
            by_actions: ``[B, A]``.
            by_log_probs: The same for every sample.
        """
        a = self.actions
        by_u = by_actions * (1.0 - a * a) + (2.0 * by_log_probs) * a
        by_log_std = (by_u * self.spread - by_log_probs) * self.inside
        return np.concatenate([by_u, by_log_std], axis=1)


def sample(outputs: Array, noise: Array) -> Sample:
    """Actions and their densities.

    Args:
        outputs: ``[B, 2 A]``, means followed by logarithms of standard deviations.
        noise: ``[B, A]``, standard normal draws.
    """
    n, noise = noise.shape[1], noise.astype(outputs.dtype, copy=False)
    mean, raw = outputs[:, :n], outputs[:, n:]
    log_std = np.minimum(np.maximum(raw, LOG_STD_BOUNDS[0]), LOG_STD_BOUNDS[1])
    spread = np.exp(log_std)
    spread *= noise
    u = mean + spread
    size = np.abs(u)
    correction = 2.0 * (_LOG_2 - size - np.log1p(np.exp(-2.0 * size)))
    densities = -0.5 * (noise * noise + _LOG_2_PI) - log_std - correction
    return Sample(np.tanh(u), densities.sum(axis=1), spread, (raw == log_std).astype(outputs.dtype))
