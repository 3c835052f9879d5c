"""Targets and losses of soft actor-critic and TD3 as functions of networks' outputs; gradients are TensorFlow's.

All arguments are tensors of one floating type. Targets and temperatures are constants: no gradient passes through
them because none of these functions is differentiated by what made them.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def soft_targets(rewards: Any, discounts: Any, next_q1: Any, next_q2: Any, log_probs: Any, alpha: Any) -> Any:
    """``r + d (min(Q1', Q2') - alpha log p)``, ``[B]`` (Haarnoja et al. 2018, arXiv:1812.05905, eq. 3 and 5).

    Args:
        rewards: ``[B]``, summed over the steps to the next observation.
        discounts: ``[B]``: gamma to the number of those steps, 0 where the episode terminated. A time limit is no end.
        next_q1: ``[B]``, of the first slow critic for an action that the present policy draws.
        next_q2: ``[B]``, of the second.
        log_probs: ``[B]``, of that action.
        alpha: The temperature.
    """
    return rewards + discounts * (tf.minimum(next_q1, next_q2) - alpha * log_probs)


def td3_targets(rewards: Any, discounts: Any, next_q1: Any, next_q2: Any) -> Any:
    """``r + d min(Q1', Q2')``, ``[B]`` (Fujimoto et al. 2018, arXiv:1802.09477, eq. 10)."""
    return rewards + discounts * tf.minimum(next_q1, next_q2)


def smoothed_actions(actions: Any, noise: Any, noise_clip: Any) -> Any:
    """``clip(a + clip(noise, -c, c), -1, 1)``, ``[B, A]``: the next action of TD3's targets (its eq. 14)."""
    return tf.clip_by_value(actions + tf.clip_by_value(noise, -noise_clip, noise_clip), -1.0, 1.0)


def twin_critic_loss(q1: Any, q2: Any, targets: Any, weights: Any) -> tuple[Any, Any]:
    """``mean(w (Q1 - y)^2) + mean(w (Q2 - y)^2)``: no critic's error is averaged away.

    Args:
        q1: ``[B]``.
        q2: ``[B]``.
        targets: ``[B]``, y.
        weights: ``[B]``, of prioritised replay; ones otherwise.

    Returns:
        The loss, and ``[B]`` the mean size of both errors, which are the priorities.
    """
    first, second = q1 - targets, q2 - targets
    loss = tf.reduce_mean(weights * first * first) + tf.reduce_mean(weights * second * second)
    return loss, 0.5 * (tf.abs(first) + tf.abs(second))


def sac_actor_loss(log_probs: Any, q1: Any, q2: Any, alpha: Any) -> Any:
    """``mean(alpha log p(a | s) - min(Q1, Q2)(s, a))`` for reparametrised actions (SAC, eq. 7)."""
    return tf.reduce_mean(alpha * log_probs - tf.minimum(q1, q2))


def td3_actor_loss(q1: Any) -> Any:
    """``-mean(Q1(s, mu(s)))``; the second critic takes no part."""
    return -tf.reduce_mean(q1)


def temperature_slope(log_probs: Any, target_entropy: Any) -> Any:
    """By log(alpha), of ``-mean(log(alpha) (log p + target))``: alpha falls while the entropy exceeds its target."""
    return -tf.reduce_mean(log_probs) - target_entropy
