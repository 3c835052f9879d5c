"""What a policy network's outputs mean: the formulas of distributions over actions.

Sampling draws from a passed Generator and returns fresh arrays. Logits may be -inf (an action that is ruled out).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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


def component_starts(nvec: Sequence[int]) -> NDArray[np.int64]:
    """``[K]``: where the logits of each component begin, for ``nvec`` choices per component."""
    sizes = np.asarray(nvec, np.int64)
    return np.cumsum(sizes) - sizes


def mask_logits(logits: NDArray[Any], masks: NDArray[np.bool_]) -> NDArray[Any]:
    """``logits`` ``[N, A]``, -inf where ``masks`` ``[N, A]`` is False; a fresh array."""
    return np.where(masks, logits, np.asarray(-np.inf, logits.dtype))


def multi_categorical_greedy(logits: NDArray[Any], nvec: Sequence[int]) -> NDArray[np.int64]:
    """The most probable choice of each of K components, ``[N, K]``, for ``logits`` ``[N, sum(nvec)]``."""
    chosen = np.empty((len(logits), len(nvec)), np.int64)
    start = 0
    for k, n in enumerate(nvec):
        logits[:, start : start + n].argmax(axis=1, out=chosen[:, k])
        start += n
    return chosen


def sample_multi_categorical(
    logits: NDArray[Any], nvec: Sequence[int], rng: np.random.Generator
) -> NDArray[np.int64]:
    """One choice per component, ``[N, K]``, each as :func:`sample_categorical` draws it."""
    race = rng.standard_exponential(logits.shape)
    np.log(race, out=race)
    np.subtract(logits, race, out=race)
    return multi_categorical_greedy(race, nvec)


def multi_categorical_log_probs(logits: NDArray[Any], nvec: Sequence[int]) -> NDArray[Any]:
    """Log-probabilities of all choices, ``[N, sum(nvec)]``: a log-softmax for each component, a fresh array."""
    starts = component_starts(nvec)
    shifted: NDArray[Any] = logits - np.repeat(np.maximum.reduceat(logits, starts, axis=1), nvec, axis=1)
    shifted -= np.repeat(np.log(np.add.reduceat(np.exp(shifted), starts, axis=1)), nvec, axis=1)
    return shifted


def log_probs_of(log_probs: NDArray[Any], actions: NDArray[Any], nvec: Sequence[int]) -> NDArray[Any]:
    """Log-probabilities ``[N]`` of ``actions`` ``[N, K]``, given those of all choices: components are independent."""
    return np.take_along_axis(log_probs, actions + component_starts(nvec), axis=1).sum(axis=1)


def entropies(log_probs: NDArray[Any]) -> NDArray[Any]:
    """``-sum p log p`` ``[N]`` over all columns of ``log_probs`` ``[N, A]``; what has no probability adds nothing."""
    return -(np.exp(log_probs) * np.where(np.isneginf(log_probs), 0.0, log_probs)).sum(axis=1)


def bernoulli_probabilities(logits: NDArray[Any]) -> NDArray[Any]:
    """``sigmoid(logits)``, ``[N, K]``, through a tangent that cannot overflow; a fresh array."""
    p: NDArray[Any] = np.tanh(0.5 * logits)
    p += 1.0
    p *= 0.5
    return p


def sample_bernoulli(logits: NDArray[Any], rng: np.random.Generator) -> NDArray[np.int8]:
    """Bits ``[N, K]``, each 1 with probability ``sigmoid(logits)``."""
    return (rng.random(logits.shape) < bernoulli_probabilities(logits)).astype(np.int8)


def bernoulli_log_probs(logits: NDArray[Any], actions: NDArray[Any]) -> NDArray[Any]:
    """Log-probabilities ``[N]`` of bits ``[N, K]``: the sum of ``a l - log(1 + exp(l))``."""
    return (actions * logits - np.logaddexp(0.0, logits)).sum(axis=1)


def bernoulli_entropies(logits: NDArray[Any]) -> NDArray[Any]:
    """``[N]``: the sum of ``log(1 + exp(l)) - l sigmoid(l)``, which is ``-p log p - (1 - p) log(1 - p)``."""
    return (np.logaddexp(0.0, logits) - logits * bernoulli_probabilities(logits)).sum(axis=1)


def gaussian_entropies(log_std: NDArray[Any], n: int) -> NDArray[Any]:
    """``[N]``: ``log sigma + (1 + log 2 pi) / 2``, summed over dimensions; ``log_std`` is ``[A]`` or ``[N, A]``."""
    per_sample = (log_std + 0.5 * (1.0 + _LOG_2_PI)).sum(axis=-1)
    return np.broadcast_to(per_sample, (n,)).copy()
