"""The losses, one value per sample, to be minimised, and what actors' outputs mean: pure functions of arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import jax
import jax.numpy as jnp

from optix_core.acting import LOG_STD_BOUNDS
from optix_core.acting.distributions import Head

LOG_RATIO_BOUND = 20.0
"""Logarithms of probability ratios are clamped to plus or minus this, so that ``exp`` cannot overflow."""

_LOG_2_PI = math.log(2.0 * math.pi)
_IMPOSSIBLE = -1e30  # as a logit: exp gives exactly 0, and 0 times it is 0, where minus infinity gives NaN


def ppo_clip_loss(
    log_probs: jax.Array, old_log_probs: jax.Array, advantages: jax.Array, clip_ratio: jax.Array | float
) -> jax.Array:
    """Clipped surrogate objective (Schulman et al. 2017, arXiv:1707.06347, eq. 7), negated, ``[B]``.

    ``-min(r A, clip(r, 1 - eps, 1 + eps) A)`` with ``r = exp(log_probs - old_log_probs)``. Where A is positive,
    only the upper bound of the clip can give the smaller term, where it is negative only the lower one; so this is
    ``-A`` times r clamped on one side, and the clamp is made before ``exp``, where it keeps r from overflowing too.
    A ratio that lies on a bound still has a gradient.
    """
    gains = advantages > 0
    low = jnp.where(gains, -LOG_RATIO_BOUND, jnp.log1p(-clip_ratio))
    high = jnp.where(gains, jnp.log1p(clip_ratio), LOG_RATIO_BOUND)
    log_ratio = log_probs - old_log_probs
    bounded = jnp.where(log_ratio < low, low, jnp.where(log_ratio > high, high, log_ratio))
    return -advantages * jnp.exp(bounded)


def value_loss(
    values: jax.Array, targets: jax.Array, old_values: jax.Array, clip: jax.Array | float
) -> jax.Array:
    """Squared error ``(V - R)^2``, ``[B]`` (eq. 9 of the same paper, without a factor of one half).

    With ``clip`` above 0 the larger of that and of the squared error of V clipped to ``old_values`` plus or minus
    ``clip``; Engstrom et al. 2020 (arXiv:2005.12729, section 3) describe it.
    """
    plain = jnp.square(values - targets)
    moved = values - old_values
    clipped = old_values + jnp.where(moved < -clip, -clip, jnp.where(moved > clip, clip, moved))
    squared = jnp.square(clipped - targets)
    larger = jnp.where(plain >= squared, plain, squared)
    return jnp.where(clip > 0.0, larger, plain)


def approximate_kl(log_ratios: jax.Array) -> jax.Array:
    """``(r - 1) - log r``, ``[B]``: an unbiased, never negative estimate of KL(old || new) from old samples.

    Schulman 2020, "Approximating KL divergence", the estimator called k3.
    """
    return jnp.expm1(jnp.clip(log_ratios, -LOG_RATIO_BOUND, LOG_RATIO_BOUND)) - log_ratios


def categorical(
    logits: jax.Array, actions: jax.Array, masks: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Log-probabilities of ``actions`` ``[B]`` and entropies, both ``[B]``, for ``logits`` ``[B, A]``.

    Where ``masks`` ``[B, A]`` is False an action has no probability, adds no entropy and gets no gradient.
    """
    logits = jnp.where(logits > _IMPOSSIBLE, logits, _IMPOSSIBLE)
    if masks is not None:
        logits = jnp.where(masks, logits, _IMPOSSIBLE)
    log_probs = jax.nn.log_softmax(logits)
    # a choice instead of a gather, whose gradient would be a scatter
    chosen = actions[:, None] == jnp.arange(logits.shape[1])
    return jnp.where(chosen, log_probs, 0.0).sum(axis=1), -(jnp.exp(log_probs) * log_probs).sum(axis=1)


def multi_categorical(
    logits: jax.Array, actions: jax.Array, masks: jax.Array | None = None, *, nvec: Sequence[int]
) -> tuple[jax.Array, jax.Array]:
    """The same for ``actions`` ``[B, K]`` of K components, whose ``logits`` lie one after another, ``[B, sum(nvec)]``.

    Components are independent: both results are sums over them.
    """
    if len(set(nvec)) == 1:  # components of one size are rows of one softmax
        rows = None if masks is None else masks.reshape(-1, nvec[0])
        found = categorical(logits.reshape(-1, nvec[0]), actions.reshape(-1), rows)
        return found[0].reshape(actions.shape).sum(axis=1), found[1].reshape(actions.shape).sum(axis=1)
    cuts = list(accumulate(nvec))[:-1]
    pieces = jnp.split(logits, cuts, axis=1)
    allowed = [None] * len(nvec) if masks is None else jnp.split(masks, cuts, axis=1)
    each = [categorical(piece, actions[:, k], allowed[k]) for k, piece in enumerate(pieces)]
    return sum(one for one, _ in each), sum(one for _, one in each)  # type: ignore[return-value]


def bernoulli(
    logits: jax.Array, actions: jax.Array, masks: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Log-probabilities of bits ``[B, K]`` and entropies, both ``[B]``: sums over independent bits.

    ``a l - log(1 + exp(l))`` and ``log(1 + exp(l)) - l sigmoid(l)`` for each logit l. Bits cannot be masked.
    """
    del masks
    softplus = jax.nn.softplus(logits)
    log_probs = (actions.astype(logits.dtype) * logits - softplus).sum(axis=1)
    return log_probs, (softplus - logits * jax.nn.sigmoid(logits)).sum(axis=1)


def gaussian(
    outputs: jax.Array, actions: jax.Array, masks: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Log-densities of ``actions`` ``[B, A]`` and entropies, both ``[B]``, summed over independent dimensions.

    ``outputs`` ``[B, 2 A]`` are means followed by logarithms of standard deviations, which are clamped to
    ``LOG_STD_BOUNDS``. Numbers cannot be masked.
    """
    del masks
    mean, log_std = jnp.split(outputs, 2, axis=1)
    log_std = jnp.clip(log_std, *LOG_STD_BOUNDS)
    z = (actions - mean) * jnp.exp(-log_std)
    log_probs = (-0.5 * jnp.square(z) - log_std - 0.5 * _LOG_2_PI).sum(axis=1)
    return log_probs, (log_std + 0.5 * (1.0 + _LOG_2_PI)).sum(axis=1)


@dataclass(frozen=True, slots=True)
class Distribution:
    """What an actor's outputs mean: ``(outputs, actions, masks or None) -> (log-probabilities [B], entropies [B])``.

    Attributes:
        head: See :mod:`optix_core.acting.distributions`.
        nvec: Choices of each component; ``multi_categorical`` only.
    """

    head: Head
    nvec: tuple[int, ...] = ()

    @property
    def shareable(self) -> bool:
        """True: it is all there is to know."""
        return True

    def __call__(
        self, outputs: jax.Array, actions: jax.Array, masks: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Both ``[B]``."""
        if self.head == "multi_categorical":
            return multi_categorical(outputs, actions, masks, nvec=self.nvec)
        plain = {"categorical": categorical, "bernoulli": bernoulli, "gaussian": gaussian}
        return plain[self.head](outputs, actions, masks)
