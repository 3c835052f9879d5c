"""The losses, one value per sample, to be minimised: nothing here reduces, standardises or logs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from optix_core.acting import LOG_STD_BOUNDS

LOG_RATIO_BOUND = 20.0
"""Logarithms of probability ratios are clamped to plus or minus this, so that ``exp`` cannot overflow."""

_LOG_2_PI = math.log(2.0 * math.pi)


def ppo_clip_loss(log_probs: Any, old_log_probs: Any, advantages: Any, clip_ratio: Any) -> Any:
    """Clipped surrogate objective (Schulman et al. 2017, arXiv:1707.06347, eq. 7), negated, ``[B]``.

    ``-min(r A, clip(r, 1 - eps, 1 + eps) A)`` with ``r = exp(log_probs - old_log_probs)``. Where A is positive only the
    upper bound of the clip can give the smaller term, where it is negative only the lower one: this is ``-A`` times r
    clamped on one side, and clamping the logarithm keeps r from overflowing too.
    """
    clip_ratio = tf.convert_to_tensor(clip_ratio, log_probs.dtype)
    gains = advantages > 0
    bound = tf.constant(LOG_RATIO_BOUND, log_probs.dtype)
    low = tf.where(gains, -bound, tf.math.log1p(-clip_ratio))
    high = tf.where(gains, tf.math.log1p(clip_ratio), bound)
    ratio = tf.exp(tf.minimum(tf.maximum(log_probs - old_log_probs, low), high))
    return -ratio * advantages


def value_loss(values: Any, targets: Any) -> Any:
    """Squared error ``(V - R)^2``, ``[B]`` (eq. 9 of the same paper, without a factor of one half)."""
    return tf.square(values - targets)


def clipped_value_loss(values: Any, targets: Any, old_values: Any, clip: Any) -> Any:
    """The larger of the squared errors of V and of V clipped to ``old_values`` plus or minus ``clip``, ``[B]``.

    Engstrom et al. 2020 (arXiv:2005.12729, section 3) describe it; it rarely helps.
    """
    clip = tf.convert_to_tensor(clip, values.dtype)
    clipped = old_values + tf.minimum(tf.maximum(values - old_values, -clip), clip)
    return tf.maximum(tf.square(values - targets), tf.square(clipped - targets))


def categorical(logits: Any, actions: Any, masks: Any = None) -> tuple[Any, Any]:
    """Log-probabilities of ``actions`` ``[B]`` and entropies, both ``[B]``, for ``logits`` ``[B, A]``.

    Where ``masks`` ``[B, A]`` is False an action has no probability, adds no entropy and gets no gradient.
    """
    if masks is None:
        log_probs = tf.nn.log_softmax(logits)
        terms = tf.exp(log_probs) * log_probs
    else:
        # a finite number so low that its probability is 0: infinities have no gradient, not even where it is not used
        lowest = tf.constant(-1e30 if logits.dtype == tf.float32 else -1e300, logits.dtype)
        log_probs = tf.nn.log_softmax(tf.where(masks, logits, lowest))
        terms = tf.where(masks, tf.exp(log_probs) * log_probs, tf.zeros_like(logits))
    taken = tf.one_hot(actions, logits.shape[-1], dtype=logits.dtype)
    chosen = tf.where(taken > 0, log_probs, tf.zeros_like(log_probs))
    return tf.reduce_sum(chosen, axis=-1), -tf.reduce_sum(terms, axis=-1)


def multi_categorical(
    logits: Any, actions: Any, masks: Any = None, *, nvec: Sequence[int]
) -> tuple[Any, Any]:
    """The same for ``actions`` ``[B, K]`` of K components, whose ``logits`` lie one after another, ``[B, sum(nvec)]``.

    Components are independent: both results are sums over them.
    """
    pieces = tf.split(logits, list(nvec), axis=-1)
    allowed = [None] * len(nvec) if masks is None else tf.split(masks, list(nvec), axis=-1)
    found = [categorical(pieces[k], actions[:, k], allowed[k]) for k in range(len(nvec))]
    return tf.add_n([one for one, _ in found]), tf.add_n([one for _, one in found])


def bernoulli(logits: Any, actions: Any) -> tuple[Any, Any]:
    """Log-probabilities of bits ``[B, K]`` and entropies, both ``[B]``: sums over independent bits.

    ``a l - log(1 + exp(l))`` and ``log(1 + exp(l)) - l sigmoid(l)`` for each logit l.
    """
    softplus = tf.nn.softplus(logits)
    log_probs = tf.cast(actions, logits.dtype) * logits - softplus
    entropies = softplus - logits * tf.sigmoid(logits)
    return tf.reduce_sum(log_probs, axis=-1), tf.reduce_sum(entropies, axis=-1)


def gaussian(outputs: Any, actions: Any) -> tuple[Any, Any]:
    """Log-densities of ``actions`` ``[B, A]`` and entropies, both ``[B]``, summed over independent dimensions.

    ``outputs`` ``[B, 2 A]`` are means followed by logarithms of standard deviations, which are clamped to
    ``LOG_STD_BOUNDS``, beyond which they have no gradient.
    """
    mean, log_std = tf.split(outputs, 2, axis=-1)
    log_std = tf.clip_by_value(log_std, *LOG_STD_BOUNDS)
    z = (actions - mean) * tf.exp(-log_std)
    log_probs = -0.5 * tf.square(z) - log_std - 0.5 * _LOG_2_PI
    entropies = log_std + 0.5 * (1.0 + _LOG_2_PI)
    return tf.reduce_sum(log_probs, axis=-1), tf.reduce_sum(entropies, axis=-1)


def approximate_kl(log_ratios: Any) -> Any:
    """``(r - 1) - log r``, ``[B]``: an unbiased, never negative estimate of KL(old || new) from old samples.

    Schulman 2020, "Approximating KL divergence", the estimator called k3.
    """
    return bounded_expm1(log_ratios) - log_ratios


def bounded_expm1(log_ratios: Any) -> Any:
    """``r - 1``, ``[B]``, of log-ratios kept within ``LOG_RATIO_BOUND``."""
    bound = tf.constant(LOG_RATIO_BOUND, log_ratios.dtype)
    return tf.math.expm1(tf.minimum(tf.maximum(log_ratios, -bound), bound))
