"""Deep Q-learning's gradient steps: all that are due at one moment, as one function to be compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from optix_tf.action_values.losses import q_targets, td_loss
from optix_tf.networks.dueling import dueling_values
from optix_tf.training.batching import cast
from optix_tf.training.guarded import guarded_step, is_divergence
from optix_tf.training.parameters import Layout, Network
from optix_tf.training.rounds import Batches, step_of, weights_of

MEASURED = ("grad_norm", "loss", "target_mean")
"""Columns of what the update measures."""

SETTINGS = ("learning_rate", "max_grad_norm", "double")
"""What its settings are, in order; ``double`` is 1 or 0."""


class QState(NamedTuple):
    """What gradient steps need and change.

    Attributes:
        vector: ``[P]``, the online network's parameters.
        moments: The optimizer's state.
        target: ``[P]``, the slow copy; it stays as it is.
        in_a_row: int32, steps left out since the last that was made.
    """

    vector: Any
    moments: Any
    target: Any
    in_a_row: Any


class QResult(NamedTuple):
    """What a round of gradient steps gives.

    Attributes:
        vector: As in :class:`QState`, afterwards.
        moments: As there.
        in_a_row: As there.
        measured: ``[n, len(MEASURED)]``, one row for each of the n steps that were tried: fewer than were asked for
            after three in a row whose gradient was not finite.
        priorities: ``[B]``, sizes of the errors of the last step that was tried.
    """

    vector: Any
    moments: Any
    in_a_row: Any
    measured: Any
    priorities: Any


def make_q_update(
    layout: Layout, network: Network, optimizer: Any, *options: str
) -> Callable[[QState, Batches, Any], QResult]:
    """``(state, batches, settings) -> result``, for :func:`optix_tf.training.rounds.rounds`.

    Args:
        layout: Of the parameter vector.
        network: ``[B, *obs]`` to action values ``[B, A]``, or to a value and advantages ``[B, 1 + A]``.
        optimizer: Steps the vector.
        options: ``"dueling"`` for the latter.
    """
    dueling = "dueling" in options

    def values_of(parts: Any, observations: Any) -> Any:
        outputs = network(parts, observations)
        return dueling_values(outputs) if dueling else outputs

    def update(state: QState, batches: Batches, settings: Any) -> QResult:
        learning_rate, max_norm, double = tf.unstack(settings, num=len(SETTINGS))
        due = tf.shape(batches["rewards"])[0]
        slow = layout.split(state.target)

        def gradient_step(
            k: Any, vector: Any, moments: Any, in_a_row: Any, stop: Any, rows: Any, last: Any
        ) -> Any:
            del stop, last
            batch = step_of(batches, k)
            observations, following = (
                cast(batch[name], layout.dtype) for name in ("observations", "following")
            )
            parts = layout.split(vector)
            # Targets: the value of what truly followed, unless it was a terminal state.
            values = values_of(slow, following)
            chosen_by = tf.cond(double > 0.5, lambda: values_of(parts, following), lambda: values)
            targets = q_targets(batch["rewards"], batch["discounts"], values, chosen_by, batch.get("masks"))
            # One step on the weighted Huber loss, left out where its gradient is not finite.
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(parts)
                loss, errors = td_loss(
                    values_of(parts, observations), batch["actions"], targets, weights_of(batch)
                )
            step = guarded_step(
                optimizer,
                layout.join(tape.gradient(loss, parts)),
                vector,
                moments,
                learning_rate=learning_rate,
                max_norm=max_norm,
                in_a_row=in_a_row,
            )
            rows = rows.write(k, tf.stack([step.norm, loss, tf.reduce_mean(targets)]))
            stop = is_divergence(step.in_a_row)
            return k + 1, step.vector, step.state, step.in_a_row, stop, rows, tf.abs(errors)

        rows = tf.TensorArray(layout.dtype, due, element_shape=(len(MEASURED),))
        start = (tf.constant(0), state.vector, state.moments, state.in_a_row, tf.constant(False), rows)
        n, vector, moments, in_a_row, _, rows, last = tf.while_loop(
            lambda k, *carried: tf.logical_and(k < due, tf.logical_not(carried[3])),
            gradient_step,
            (*start, tf.zeros_like(batches["rewards"][0])),
            parallel_iterations=1,
        )
        return QResult(vector, moments, in_a_row, rows.stack()[:n], last)

    return update
