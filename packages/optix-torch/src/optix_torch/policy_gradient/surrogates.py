"""The clipped surrogate and the entropy bonus of every head, with their derivatives written out in numpy.

Equations are those of ``losses.py``, differentiated by hand. Each head is called with the actor's outputs ``[B, out]``
and returns policy loss, mean entropy, log-ratios ``[B]`` and the derivative by the outputs, a fresh array.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from optix_core.acting import LOG_STD_BOUNDS, PolicySpec, heads
from optix_torch.policy_gradient.losses import LOG_RATIO_BOUND

Array = NDArray[Any]
Found = tuple[float, float, Array, Array]

_ENTROPY_OF_UNIT_NORMAL = 0.5 * (1.0 + math.log(2.0 * math.pi))


class Surrogate(Protocol):
    """One head's loss and gradient."""

    def __call__(
        self,
        outputs: Array,
        actions: Array,
        masks: Array | None,
        old_log_probs: Array,
        advantages: Array,
        hp: Mapping[str, Any],
    ) -> Found:
        """``(policy loss, entropy, log-ratios, derivative by outputs)``."""
        ...


def surrogate(spec: PolicySpec, log_std: Array | None, log_std_gradient: Array) -> Surrogate:
    """What fits ``spec``; a Gaussian with parameters of its own for the standard deviations gets both views of them."""
    if spec.head == "gaussian":
        return _Gaussian(spec.n_actions, log_std, log_std_gradient)
    if spec.head == "bernoulli":
        return _bernoulli
    return _MultiCategorical(spec.nvec) if spec.head == "multi_categorical" else _categorical


def _categorical(
    outputs: Array,
    actions: Array,
    masks: Array | None,
    old_log_probs: Array,
    advantages: Array,
    hp: Mapping[str, Any],
) -> Found:
    """D log p_a / d logits_k = [k = a] - p_k, and d H / d logits_k = -p_k (log p_k + H)."""
    n, rows = len(actions), np.arange(len(actions))
    log_p, p = _softmax(outputs, masks, heads.categorical_log_probs)
    log_ratio = log_p[rows, actions] - old_log_probs
    loss, d_log_prob = clipped_surrogate(log_ratio, advantages, hp["clip_ratio"])
    negative_entropy = (p * log_p).sum(axis=1)
    if coef := hp["entropy_coef"]:
        d_logits = p * ((coef / n) * (log_p - negative_entropy[:, None]) - d_log_prob[:, None])
    else:
        d_logits = p * -d_log_prob[:, None]
    d_logits[rows, actions] += d_log_prob
    return loss, -float(negative_entropy.mean()), log_ratio, d_logits


class _MultiCategorical:
    """As :func:`_categorical` for each component; the log-probabilities and entropies of components add up."""

    def __init__(self, nvec: Sequence[int]) -> None:
        self._nvec, self._starts = tuple(nvec), heads.component_starts(nvec)

    def __call__(
        self,
        outputs: Array,
        actions: Array,
        masks: Array | None,
        old_log_probs: Array,
        advantages: Array,
        hp: Mapping[str, Any],
    ) -> Found:
        n = len(actions)
        rows, columns = np.arange(n)[:, None], actions + self._starts
        log_p, p = _softmax(outputs, masks, lambda x: heads.multi_categorical_log_probs(x, self._nvec))
        log_ratio = log_p[rows, columns].sum(axis=1) - old_log_probs
        loss, d_log_prob = clipped_surrogate(log_ratio, advantages, hp["clip_ratio"])
        negative_entropies = np.add.reduceat(p * log_p, self._starts, axis=1)  # [B, K]
        inner = (hp["entropy_coef"] / n) * (log_p - np.repeat(negative_entropies, self._nvec, axis=1))
        d_logits = p * (inner - d_log_prob[:, None])
        d_logits[rows, columns] += d_log_prob[:, None]
        return loss, -float(negative_entropies.sum(axis=1).mean()), log_ratio, d_logits


def _bernoulli(
    outputs: Array,
    actions: Array,
    masks: Array | None,
    old_log_probs: Array,
    advantages: Array,
    hp: Mapping[str, Any],
) -> Found:
    """D log p / d l = a - p, and d H / d l = -l p (1 - p), for each bit."""
    del masks  # bits have none
    p = heads.bernoulli_probabilities(outputs)
    log_ratio = heads.bernoulli_log_probs(outputs, actions) - old_log_probs
    loss, d_log_prob = clipped_surrogate(log_ratio, advantages, hp["clip_ratio"])
    entropy = float(heads.bernoulli_entropies(outputs).mean())
    d_logits = d_log_prob[:, None] * (actions - p)
    d_logits += (hp["entropy_coef"] / len(actions)) * outputs * p * (1.0 - p)
    return loss, entropy, log_ratio, d_logits


class _Gaussian:
    """With z = (u - mean) / std: d log p / d mean = z / std, d log p / d log std = z^2 - 1, d H / d log std = 1.

    The clamp of log std stops its gradient outside the bounds.
    """

    def __init__(self, n_actions: int, log_std: Array | None, log_std_gradient: Array) -> None:
        self._a, self._log_std, self._gradient = n_actions, log_std, log_std_gradient

    def __call__(
        self,
        outputs: Array,
        actions: Array,
        masks: Array | None,
        old_log_probs: Array,
        advantages: Array,
        hp: Mapping[str, Any],
    ) -> Found:
        del masks  # numbers have none
        n, (low, high) = len(actions), LOG_STD_BOUNDS
        mean = outputs[:, : self._a]
        raw = self._log_std if self._log_std is not None else outputs[:, self._a :]
        log_std, inside = np.clip(raw, low, high), (raw >= low) & (raw <= high)
        inverse_std = np.exp(-log_std)
        z = (actions - mean) * inverse_std
        log_ratio = heads.gaussian_log_probs(mean, log_std, actions) - old_log_probs
        loss, d_log_prob = clipped_surrogate(log_ratio, advantages, hp["clip_ratio"])
        d_mean = d_log_prob[:, None] * z * inverse_std
        d_log_std = (d_log_prob[:, None] * (z * z - 1.0) - hp["entropy_coef"] / n) * inside
        entropies = np.broadcast_to(log_std + _ENTROPY_OF_UNIT_NORMAL, mean.shape).sum(axis=1)
        if self._log_std is None:
            d_outputs = np.concatenate([d_mean, d_log_std], axis=1)
        else:
            np.sum(d_log_std, axis=0, out=self._gradient)
            d_outputs = d_mean
        return loss, float(entropies.mean()), log_ratio, d_outputs


def clipped_surrogate(log_ratio: Array, advantages: Array, clip_ratio: float) -> tuple[float, Array]:
    """The mean of ``losses.ppo_clip_loss`` and its derivative by each log-probability, ``[B]``.

    The unclipped term is the active one wherever it is the smaller; d r / d log p = r.
    """
    ratio = np.exp(np.clip(log_ratio, -LOG_RATIO_BOUND, LOG_RATIO_BOUND))
    unclipped = ratio * advantages
    clipped = np.clip(ratio, 1.0 - clip_ratio, 1.0 + clip_ratio) * advantages
    # the clamp of the log-ratio stops the gradient beyond its bound
    active = (unclipped <= clipped) & (np.abs(log_ratio) <= LOG_RATIO_BOUND)
    loss = -float(np.minimum(unclipped, clipped).mean())
    return loss, np.where(active, unclipped * (-1.0 / len(advantages)), 0.0)


def _softmax(outputs: Array, masks: Array | None, log_softmax: Any) -> tuple[Array, Array]:
    """Log-probabilities and probabilities ``[B, A]``; of what is masked out both are 0, so that their product is."""
    log_p = log_softmax(outputs if masks is None else heads.mask_logits(outputs, masks))
    p = np.exp(log_p)
    if masks is not None:
        log_p[~masks] = 0.0
    return log_p, p
