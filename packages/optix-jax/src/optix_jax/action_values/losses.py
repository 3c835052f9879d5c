"""Targets and loss of deep Q-learning as functions of networks' outputs; gradients are JAX's."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def q_targets(
    rewards: jax.Array,
    discounts: jax.Array,
    following: jax.Array,
    chosen_by: jax.Array,
    masks: jax.Array | None = None,
) -> jax.Array:
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
        chosen_by = jnp.where(masks, chosen_by, -jnp.inf)
    best = jnp.argmax(chosen_by, axis=1)
    return rewards + discounts * jnp.take_along_axis(following, best[:, None], axis=1)[:, 0]


def td_errors(values: jax.Array, actions: jax.Array, targets: jax.Array) -> jax.Array:
    """``Q(s, a) - y``, ``[B]``, for ``values`` ``[B, A]``, ``actions`` ``[B]`` from 0 and ``targets`` ``[B]``."""
    # a product with one-hot rows instead of a gather: its gradient is a product too, and no scatter
    chosen = actions[:, None] == jnp.arange(values.shape[1])
    return jnp.where(chosen, values, 0.0).sum(axis=1) - targets


def huber(errors: jax.Array) -> jax.Array:
    """``e^2 / 2`` up to a size of 1 and ``|e| - 1/2`` beyond, ``[B]``: the slope is the error clipped to [-1, 1]."""
    size = jnp.abs(errors)
    return jnp.where(size <= 1.0, 0.5 * errors * errors, size - 0.5)
