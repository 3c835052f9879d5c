"""Following of slow copies: what makes the targets of temporal-difference learning stand still."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

Params = Any


def polyak(slow: Params, online: Params, tau: jax.Array | float) -> Params:
    """``slow`` after the share ``tau`` of the way towards ``online`` (Lillicrap et al. 2015, arXiv:1509.02971, 3).

    Counted from the nearer end, so that a tau of 1 gives ``online`` to the bit.
    """

    def follow(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.where(tau < 0.5, a + tau * (b - a), b - (1.0 - tau) * (b - a))

    return jax.tree.map(follow, slow, online)


def copied(online: Params) -> Params:
    """Equal parameters in memory of their own."""
    return jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), online)
