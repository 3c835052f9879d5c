"""One gradient step inside a compiled loop: clipped, and left out where the gradient is not finite."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from optix_core.agents.steps import MAX_SKIPPED_IN_A_ROW


class Stepped(NamedTuple):
    """What one step did.

    Attributes:
        vector: ``[P]``, the parameters afterwards.
        state: The optimizer's.
        norm: Of the gradient, before it was clipped.
        made: Bool: the step was made.
        in_a_row: int32: steps left out since the last that was made.
    """

    vector: Any
    state: Any
    norm: Any
    made: Any
    in_a_row: Any


def guarded_step(
    optimizer: Any,
    gradient: Any,
    vector: Any,
    state: Any,
    *,
    learning_rate: Any,
    max_norm: Any,
    in_a_row: Any,
    wanted: Any = None,
) -> Stepped:
    """Clip the gradient's norm to ``max_norm`` (may be infinite) and step, where ``wanted`` and the gradient is finite.

    Args:
        optimizer: Of a :class:`~optix_tf.training.trainable.Trainable`.
        gradient: ``[P]``.
        vector: ``[P]``, the parameters.
        state: The optimizer's.
        learning_rate: A scalar, as all that follows.
        max_norm: Of the whole gradient.
        in_a_row: int32, steps left out so far.
        wanted: Bool; a step that is not wanted is neither made nor counted. None: it is.
    """
    norm = tf.sqrt(tf.reduce_sum(gradient * gradient))
    finite = tf.math.is_finite(norm)
    made = finite if wanted is None else tf.logical_and(finite, wanted)

    def stepped() -> Any:
        scale = tf.where(norm > max_norm, max_norm / (norm + 1e-6), tf.ones_like(norm))
        after, moved = optimizer.step(gradient * scale, vector, state, learning_rate)
        return after, tuple(moved)

    after, moved = tf.cond(made, stepped, lambda: (tf.identity(vector), tuple(state)))
    counted = tf.where(finite, 0, in_a_row + 1)
    return Stepped(
        after, moved, norm, made, counted if wanted is None else tf.where(wanted, counted, in_a_row)
    )


def is_divergence(in_a_row: Any) -> Any:
    """Whether so many steps in a row were left out that no further one may be made."""
    return in_a_row >= MAX_SKIPPED_IN_A_ROW
