"""One gradient step inside a compiled scan: clipped, and left out where the gradient is not finite."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optix_core.agents.steps import MAX_SKIPPED_IN_A_ROW
from optix_jax.training.optimizers import Optimizer

Params = Any


class Stepped(NamedTuple):
    """What one step did.

    Attributes:
        params: After the step.
        state: The optimizer's, after the step.
        norm: Of the gradient, before it was clipped.
        made: Bool: the step was made.
        in_a_row: int32: steps left out since the last that was made.
    """

    params: Params
    state: Any
    norm: jax.Array
    made: jax.Array
    in_a_row: jax.Array


def global_norm(gradients: Params) -> jax.Array:
    """The Euclidean norm over all arrays of a tree."""
    return jnp.sqrt(sum(jnp.vdot(g, g) for g in jax.tree.leaves(gradients)))


def guarded_step(
    optimizer: Optimizer,
    params: Params,
    gradients: Params,
    state: Any,
    *,
    learning_rate: jax.Array,
    max_norm: jax.Array | float,
    in_a_row: jax.Array,
    wanted: jax.Array | bool = True,
) -> Stepped:
    """Clip the norm to ``max_norm`` (may be infinite) and step, where ``wanted`` and the gradient is finite."""
    norm = global_norm(gradients)
    finite = jnp.isfinite(norm)
    made = finite & wanted
    scale = jnp.where(norm > max_norm, max_norm / (norm + 1e-6), 1.0)
    after, moved = optimizer.step(params, jax.tree.map(lambda g: g * scale, gradients), state, learning_rate)

    def chosen(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(made, new, old)

    skipped = jnp.where(finite, 0, in_a_row + 1)
    return Stepped(
        jax.tree.map(chosen, after, params),
        jax.tree.map(chosen, moved, state),
        norm,
        made,
        jnp.where(jnp.asarray(wanted), skipped, in_a_row),
    )


def diverged(in_a_row: jax.Array) -> jax.Array:
    """Whether so many steps in a row were left out that no further one may be made."""
    return in_a_row >= MAX_SKIPPED_IN_A_ROW
