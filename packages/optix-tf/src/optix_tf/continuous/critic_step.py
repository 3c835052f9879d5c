"""One step of both critics towards given targets, the same for SAC and TD3."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from optix_tf.continuous.losses import twin_critic_loss
from optix_tf.continuous.twin import TwinCritics
from optix_tf.training.guarded import Stepped, guarded_step
from optix_tf.training.parameters import Layout
from optix_tf.training.rounds import Batches, weights_of


class CriticStep(NamedTuple):
    """What happened.

    Attributes:
        step: Parameters, optimizer, and whether the step was made.
        measured: Norm of the gradient, loss, mean value over both critics; scalars.
        priorities: ``[B]``, the mean size of both errors.
    """

    step: Stepped
    measured: tuple[Any, Any, Any]
    priorities: Any


def critic_step(
    critics: TwinCritics,
    layout: Layout,
    optimizer: Any,
    vector: Any,
    moments: Any,
    batch: Batches,
    observations: Any,
    targets: Any,
    **how: Any,
) -> CriticStep:
    """One guarded step on ``batch``, whose targets are ``targets`` ``[B]``.

    Args:
        critics: Both.
        layout: Of their vector.
        optimizer: Steps it.
        vector: ``[P]``.
        moments: The optimizer's state.
        batch: Actions and weights.
        observations: ``[B, *obs]`` in the parameters' type.
        targets: ``[B]``.
        how: As for :func:`~optix_tf.training.guarded.guarded_step`.
    """
    parts = layout.split(vector)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(parts)
        q1, q2 = critics.values(parts, observations, batch["actions"])
        loss, sizes = twin_critic_loss(q1, q2, targets, weights_of(batch))
    step = guarded_step(optimizer, layout.join(tape.gradient(loss, parts)), vector, moments, **how)
    mean = 0.5 * (tf.reduce_mean(q1) + tf.reduce_mean(q2))
    return CriticStep(step, (step.norm, loss, mean), sizes)
