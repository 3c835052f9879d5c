"""Targets and loss of deep Q-learning as functions of networks' outputs; gradients are TensorFlow's."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def q_targets(rewards: Any, discounts: Any, following: Any, chosen_by: Any, masks: Any = None) -> Any:
    """``r + d Q(s', argmax_a C(s', a))``, ``[B]`` (van Hasselt et al. 2016, arXiv:1509.06461, eq. 4).

    Args:
        rewards: ``[B]``, summed over the steps to ``s'``.
        discounts: ``[B]``: gamma to the number of those steps, 0 where they reached a terminal state. A time limit is
            none: what follows it has a value.
        following: ``[B, A]``, the target network's values Q of ``s'``.
        chosen_by: ``[B, A]``, the values C that choose the action: the online network's, or again Q, which is
            Q-learning as Mnih et al. 2015 have it.
        masks: ``[B, A]`` bool, the actions allowed in ``s'``. A row that allows none (a terminal state) chooses the
            first, whose value then counts only if its discount is not 0.
    """
    if masks is not None:
        chosen_by = tf.where(masks, chosen_by, tf.constant(-float("inf"), chosen_by.dtype))
    best = tf.argmax(chosen_by, axis=1, output_type=tf.int32)
    return rewards + discounts * tf.gather(following, best, batch_dims=1)


def td_loss(values: Any, actions: Any, targets: Any, weights: Any) -> tuple[Any, Any]:
    """``mean(w huber(Q(s, a) - y))`` with ``huber`` quadratic up to 1, and the errors ``Q(s, a) - y`` ``[B]``.

    Args:
        values: ``[B, A]``.
        actions: ``[B]``, whole numbers from 0.
        targets: ``[B]``, y.
        weights: ``[B]``, of prioritised replay (Schaul et al. 2016, arXiv:1511.05952, section 3.4); ones otherwise.
    """
    errors = tf.gather(values, actions, batch_dims=1) - targets
    size = tf.abs(errors)
    each = tf.where(size <= 1.0, 0.5 * errors * errors, size - 0.5)
    return tf.reduce_mean(weights * each), errors
