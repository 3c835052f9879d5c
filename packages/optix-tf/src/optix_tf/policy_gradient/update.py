"""A whole PPO update, all epochs and minibatches, as one function to be compiled.

What changes from window to window is an argument: parameters, data, the order of samples, and every hyperparameter. A
minibatch is computed in one or more chunks of a fixed number of rows, whose gradients add up before the step is made;
so neither another minibatch size nor another number of epochs changes a shape.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from optix_core.acting.distributions import Head
from optix_core.agents.steps import MAX_SKIPPED_IN_A_ROW
from optix_tf.policy_gradient import losses
from optix_tf.training.batching import cast, take
from optix_tf.training.parameters import Behind, Layout, Network


class Data(NamedTuple):
    """One window.

    Attributes:
        observations: ``[B, *obs]``, or a dict of such.
        actions: ``[B]`` or ``[B, K]`` int32, or ``[B, A]`` in the parameters' type.
        columns: ``[B, 4]``: old log-probabilities, advantages, targets, old values.
        masks: ``[B, A]`` bool, or None.
    """

    observations: Any
    actions: Any
    columns: Any
    masks: Any


class Plan(NamedTuple):
    """Which samples are computed when.

    Attributes:
        rows: ``[C, M]`` int32: the samples of each chunk; -1: none.
        size: ``[C]``: samples in the whole minibatch that the chunk belongs to.
        step: ``[C]`` bool: the chunk is the last of its minibatch.
        epoch: ``[C]`` bool: it is the last of its epoch.
        n: Number of chunks to compute, a scalar.
    """

    rows: Any
    size: Any
    step: Any
    epoch: Any
    n: Any


class Settings(NamedTuple):
    """Hyperparameters, as scalars of the parameters' type."""

    learning_rate: Any
    clip_ratio: Any
    entropy_coef: Any
    vf_coef: Any
    max_grad_norm: Any
    target_kl: Any
    value_clip: Any


class Tally(NamedTuple):
    """What is counted while the update goes on; numbers are scalars, sums ``[4]``.

    Attributes:
        gradient: ``[P]``, of the chunks of the present minibatch so far.
        pending: Of those chunks: policy loss, value loss, entropy, k3, samples that were clipped, samples.
        sums: Policy loss, value loss, entropy, gradient norm, over the steps that were made.
        epoch: k3, samples that were clipped, samples: of the present epoch.
        last: Mean k3 and clip fraction of the last epoch.
        n_updates: Steps made.
        n_skipped: Steps left out.
        in_a_row: Steps left out since the last that was made.
        n_chunks: Chunks computed.
        stop: Whether the update is over.
    """

    gradient: Any
    pending: Any
    sums: Any
    epoch: Any
    last: Any
    n_updates: Any
    n_skipped: Any
    in_a_row: Any
    n_chunks: Any
    stop: Any


def make_update(
    layout: Layout, actor: Network, critic: Network, head: Head, nvec: Sequence[int], optimizer: Any
) -> Callable[..., Any]:
    """``(vector, state, data, plan, settings) -> (vector, state, tally)``, for :func:`~optix_tf.training.compiled`.

    Args:
        layout: Of the parameter vector.
        actor: Gives what the head reads; a Gaussian one means and log standard deviations.
        critic: Gives ``[B]`` or ``[B, 1]``.
        head: What the actor's outputs mean.
        nvec: Choices of each component; ``multi_categorical`` only.
        optimizer: Steps the vector.
    """
    distribution = _distribution(head, nvec)
    evaluate = _evaluation(actor, critic)

    def chunk(vector: Any, data: Data, rows: Any, size: Any, hp: Settings) -> tuple[Any, Any]:
        """The part of one chunk in the minibatch's gradient ``[P]``, and in what is measured ``[6]``."""
        counts = tf.cast(rows >= 0, layout.dtype)
        index = tf.maximum(rows, 0)
        old_log_probs, advantages, targets, old_values = tf.unstack(tf.gather(data.columns, index), axis=1)
        observations = cast(take(data.observations, index), layout.dtype)
        actions = tf.gather(data.actions, index)
        allowed = () if data.masks is None else (tf.gather(data.masks, index),)
        parts = layout.split(vector)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(parts)
            outputs, values = evaluate(parts, observations)
            log_probs, entropies = distribution(outputs, actions, *allowed)
            policy = losses.ppo_clip_loss(log_probs, old_log_probs, advantages, hp.clip_ratio)
            value = tf.where(
                hp.value_clip > 0,
                losses.clipped_value_loss(values, targets, old_values, hp.value_clip),
                losses.value_loss(values, targets),
            )
            each = policy + hp.vf_coef * value - hp.entropy_coef * entropies
            loss = tf.reduce_sum(each * counts) / size
        gradient = layout.join(tape.gradient(loss, parts))
        log_ratios = log_probs - old_log_probs
        clipped = tf.abs(losses.bounded_expm1(log_ratios)) > hp.clip_ratio
        measured = [policy / size, value / size, entropies / size, losses.approximate_kl(log_ratios)]
        measured += [tf.cast(clipped, layout.dtype), tf.ones_like(counts)]
        return gradient, tf.stack([tf.reduce_sum(tf.where(rows >= 0, x, tf.zeros_like(x))) for x in measured])

    def update(vector: Any, state: Any, data: Data, plan: Plan, hp: Settings) -> tuple[Any, Any, Tally]:
        def body(i: Any, vector: Any, state: Any, was: Tally) -> tuple[Any, ...]:
            gradient, measured = chunk(vector, data, plan.rows[i], plan.size[i], hp)
            gradient, pending = was.gradient + gradient, was.pending + measured
            last = plan.step[i]
            norm = tf.sqrt(tf.reduce_sum(gradient * gradient))
            finite = tf.math.is_finite(norm)
            made = tf.logical_and(last, finite)
            skipped = tf.cast(tf.logical_and(last, tf.logical_not(finite)), tf.int32)
            scale = tf.minimum(tf.ones_like(norm), hp.max_grad_norm / (norm + 1e-6))
            vector, state = optimizer.step(gradient * scale, vector, state, hp.learning_rate, made)
            in_a_row = tf.where(made, 0, was.in_a_row + skipped)
            done = tf.concat([pending[:3], norm[None]], axis=0)
            epoch = was.epoch + tf.where(made, pending[3:], tf.zeros_like(pending[3:]))
            ends = tf.logical_and(plan.epoch[i], epoch[2] > 0)
            means = tf.where(ends, epoch[:2] / tf.maximum(epoch[2], 1.0), was.last)
            far = tf.logical_and(tf.logical_and(ends, hp.target_kl > 0), means[0] > hp.target_kl)
            tally = Tally(
                gradient=tf.where(last, tf.zeros_like(gradient), gradient),
                pending=tf.where(last, tf.zeros_like(pending), pending),
                sums=was.sums + tf.where(made, done, tf.zeros_like(done)),
                epoch=tf.where(plan.epoch[i], tf.zeros_like(epoch), epoch),
                last=means,
                n_updates=was.n_updates + tf.cast(made, tf.int32),
                n_skipped=was.n_skipped + skipped,
                in_a_row=in_a_row,
                n_chunks=was.n_chunks + 1,
                stop=tf.logical_or(far, in_a_row >= MAX_SKIPPED_IN_A_ROW),
            )
            return i + 1, vector, state, tally

        def goes_on(i: Any, vector: Any, state: Any, tally: Tally) -> Any:
            del vector, state
            return tf.logical_and(i < plan.n, tf.logical_not(tally.stop))

        def zeros(*shape: int) -> Any:
            return tf.zeros(shape, layout.dtype)

        none = tf.zeros((), tf.int32)
        start = Tally(
            tf.zeros_like(vector),
            zeros(6),
            zeros(4),
            zeros(3),
            zeros(2),
            none,
            none,
            none,
            none,
            tf.constant(False),
        )
        _, vector, state, tally = tf.while_loop(
            goes_on, body, (none, vector, state, start), parallel_iterations=1
        )
        return vector, state, tally

    return update


def _evaluation(actor: Network, critic: Network) -> Callable[[Any, Any], tuple[Any, Any]]:
    """What the actor gives and values ``[B]``; an encoder that both share is computed once."""
    shared = isinstance(actor, Behind) and isinstance(critic, Behind) and actor.encoder is critic.encoder

    def evaluate(parts: Any, observations: Any) -> tuple[Any, Any]:
        if shared:
            assert isinstance(actor, Behind)
            assert isinstance(critic, Behind)
            features = actor.encoder(parts, observations)
            outputs, values = actor.trunk(parts, features), critic.trunk(parts, features)
        else:
            outputs, values = actor(parts, observations), critic(parts, observations)
        return outputs, tf.reshape(values, (-1,))

    return evaluate


def _distribution(head: Head, nvec: Sequence[int]) -> Callable[..., tuple[Any, Any]]:
    """``(outputs, actions[, masks]) -> (log-probabilities, entropies)``."""
    if head == "multi_categorical":
        return functools.partial(losses.multi_categorical, nvec=tuple(nvec))
    found: dict[str, Callable[..., tuple[Any, Any]]] = {
        "categorical": losses.categorical,
        "bernoulli": losses.bernoulli,
        "gaussian": losses.gaussian,
    }
    return found[head]
