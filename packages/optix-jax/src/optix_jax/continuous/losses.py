"""Targets and losses of soft actor-critic and TD3 as functions of networks' outputs; gradients are JAX's.

Losses are per sample, ``[B]``; weights and means are the update's.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def least(q1: jax.Array, q2: jax.Array) -> jax.Array:
    """The smaller of two values; the first where they are equal, as ``jnp.minimum`` would not have it."""
    return jnp.where(q1 <= q2, q1, q2)


def soft_targets(
    rewards: jax.Array,
    discounts: jax.Array,
    next_q1: jax.Array,
    next_q2: jax.Array,
    next_log_probs: jax.Array,
    alpha: jax.Array | float,
) -> jax.Array:
    """``r + d (min(Q1', Q2') - alpha log p)``, ``[B]`` (Haarnoja et al. 2018, arXiv:1812.05905, eq. 3 and 5).

    Args:
        rewards: ``[B]``, summed over the steps to the next observation.
        discounts: ``[B]``: gamma to the number of those steps, 0 where the episode terminated. A time limit is no end.
        next_q1: ``[B]``, of the first slow critic for an action that the present policy draws.
        next_q2: ``[B]``, of the second.
        next_log_probs: ``[B]``, of that action.
        alpha: The temperature.
    """
    return rewards + discounts * (least(next_q1, next_q2) - alpha * next_log_probs)


def td3_targets(
    rewards: jax.Array, discounts: jax.Array, next_q1: jax.Array, next_q2: jax.Array
) -> jax.Array:
    """``r + d min(Q1', Q2')``, ``[B]`` (Fujimoto et al. 2018, arXiv:1802.09477, eq. 10)."""
    return rewards + discounts * least(next_q1, next_q2)


def smoothed_actions(actions: jax.Array, noise: jax.Array, noise_clip: jax.Array | float) -> jax.Array:
    """``clip(a + clip(noise, -c, c), -1, 1)``, ``[B, A]``: the next action of TD3's targets (its eq. 14).

    Args:
        actions: ``[B, A]``, of the slow actor.
        noise: ``[B, A]``, normal with the standard deviation of the smoothing.
        noise_clip: c, at least 0.
    """
    return jnp.clip(actions + jnp.clip(noise, -noise_clip, noise_clip), -1.0, 1.0)


def twin_critic_loss(q1: jax.Array, q2: jax.Array, targets: jax.Array) -> jax.Array:
    """``(Q1 - y)^2 + (Q2 - y)^2``, ``[B]``: no critic's error is averaged away."""
    return (q1 - targets) ** 2 + (q2 - targets) ** 2


def sac_actor_loss(log_probs: jax.Array, q1: jax.Array, q2: jax.Array, alpha: jax.Array | float) -> jax.Array:
    """``alpha log p(a | s) - min(Q1, Q2)(s, a)``, ``[B]``, for reparametrised actions (SAC, eq. 7)."""
    return alpha * log_probs - least(q1, q2)


def temperature_loss(
    log_alpha: jax.Array, log_probs: jax.Array, target_entropy: jax.Array | float
) -> jax.Array:
    """``-log(alpha) (log p + target)``, ``[B]``, log p a constant: alpha falls while the entropy exceeds its target."""
    return -log_alpha * (jax.lax.stop_gradient(log_probs) + target_entropy)


def td3_actor_loss(q1: jax.Array) -> jax.Array:
    """``-Q1(s, mu(s))``, ``[B]``; the second critic takes no part."""
    return -q1
