"""What a policy network's outputs mean: categorical and diagonal Gaussian distributions over actions.

Sampling draws from a passed Generator and returns fresh arrays. Logits may be -inf (an action that is ruled out).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

LOG_STD_BOUNDS = (-5.0, 2.0)
"""Logarithms of standard deviations are clamped to this range."""

_LOG_2_PI = math.log(2.0 * math.pi)


def sample_categorical(logits: NDArray[Any], rng: np.random.Generator) -> NDArray[np.int64]:
    """One action ``[N]`` for each row of ``logits`` ``[N, A]``, by the Gumbel-max trick.

    ``argmax_k(logits_k + G_k)`` with ``G_k`` standard Gumbel is distributed as ``softmax(logits)`` (Gumbel 1954;
    Maddison et al. 2014, arXiv:1411.0030, section 2). ``-log E`` is standard Gumbel for E exponential, so no
    softmax is needed.
    """
    race = rng.standard_exponential(logits.shape)
    np.log(race, out=race)
    np.subtract(logits, race, out=race)
    return race.argmax(axis=1)


def categorical_log_probs(logits: NDArray[Any]) -> NDArray[Any]:
    """Log-probabilities of all actions, ``[N, A]``: the log-softmax of ``logits`` ``[N, A]``, a fresh array."""
    shifted: NDArray[Any] = logits - logits.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted


def sample_gaussian(mean: NDArray[Any], log_std: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """``mean + exp(log_std) * N(0, 1)``, ``[N, A]`` in the type of ``mean``; ``log_std`` is ``[A]`` or ``[N, A]``."""
    noise: NDArray[Any] = rng.standard_normal(mean.shape, dtype=mean.dtype)
    noise *= np.exp(log_std)
    noise += mean
    return noise


def gaussian_log_probs(mean: NDArray[Any], log_std: NDArray[Any], actions: NDArray[Any]) -> NDArray[Any]:
    """Log-densities ``[N]`` of ``actions`` ``[N, A]``, summed over independent dimensions.

    ``sum_a -((u_a - mu_a) / sigma_a)^2 / 2 - log sigma_a - log(2 pi) / 2``.
    """
    z = (actions - mean) * np.exp(-log_std)
    per_dimension: NDArray[Any] = -0.5 * np.square(z) - log_std - 0.5 * _LOG_2_PI
    return per_dimension.sum(axis=1)
