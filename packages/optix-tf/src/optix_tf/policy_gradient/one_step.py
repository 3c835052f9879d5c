"""One gradient step of REINFORCE or A2C, as a function to be compiled (Williams 1992; Mnih et al. 2016)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from optix_tf.policy_gradient import losses
from optix_tf.training.batching import cast
from optix_tf.training.parameters import Layout, Network


class Settings(NamedTuple):
    """Hyperparameters, as scalars of the parameters' type."""

    learning_rate: Any
    vf_coef: Any
    entropy_coef: Any
    max_grad_norm: Any


def make_gradient(layout: Layout, model: Network) -> Callable[..., tuple[Any, Any]]:
    """``(vector, observations, actions, targets, returns, counts, settings) -> (loss, gradient [P])``.

    The loss is ``-mean(target log pi(a|s)) - entropy_coef mean(H)``, and ``+ vf_coef mean((V - return)^2)`` where the
    model gives values.

    Args:
        layout: Of the parameter vector.
        model: Gives logits ``[B, A]``, or a tuple of logits and values ``[B]`` or ``[B, 1]``.
    """

    def gradient(
        vector: Any, observations: Any, actions: Any, targets: Any, returns: Any, counts: Any, hp: Settings
    ) -> tuple[Any, Any]:
        parts = layout.split(vector)
        size = tf.reduce_sum(counts)

        def mean(each: Any) -> Any:
            return tf.reduce_sum(each * counts) / size

        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(parts)
            logits, values = split_outputs(model(parts, cast(observations, layout.dtype)))
            log_probs, entropies = losses.categorical(logits, actions)
            loss = -mean(targets * log_probs) - hp.entropy_coef * mean(entropies)
            if values is not None:
                loss += hp.vf_coef * mean(losses.value_loss(tf.reshape(values, (-1,)), returns))
        return loss, layout.join(tape.gradient(loss, parts))

    return gradient


def make_step(layout: Layout, optimizer: Any) -> Callable[..., tuple[Any, Any, Any]]:
    """``(gradient, vector, state, settings) -> (vector, state, norm)``: a clipped step, none if it is not finite."""
    del layout  # functions of other layouts are others

    def step(gradient: Any, vector: Any, state: Any, hp: Settings) -> tuple[Any, Any, Any]:
        norm = tf.sqrt(tf.reduce_sum(gradient * gradient))
        scale = tf.minimum(tf.ones_like(norm), hp.max_grad_norm / (norm + 1e-6))
        vector, state = optimizer.step(
            gradient * scale, vector, state, hp.learning_rate, tf.math.is_finite(norm)
        )
        return vector, state, norm

    return step


def split_outputs(outputs: Any) -> tuple[Any, Any]:
    """Logits ``[B, A]``, and values or None."""
    if isinstance(outputs, tuple | list):
        return outputs[0], outputs[1]
    return outputs, None
