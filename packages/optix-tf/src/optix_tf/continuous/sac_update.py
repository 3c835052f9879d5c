"""Soft actor-critic's gradient steps: all that are due at one moment, as one function to be compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from optix_tf.continuous import squashed
from optix_tf.continuous.critic_step import critic_step
from optix_tf.continuous.losses import sac_actor_loss, soft_targets, temperature_slope
from optix_tf.continuous.twin import TwinCritics
from optix_tf.training.batching import cast
from optix_tf.training.gradient_loop import gradient_loop
from optix_tf.training.guarded import guarded_step, is_divergence
from optix_tf.training.parameters import Layout, Network
from optix_tf.training.rounds import Batches
from optix_tf.training.targets import followed

MEASURED = ("critic_grad_norm", "critic_loss", "q_mean", "actor_grad_norm", "actor_loss", "entropy")
"""Columns of what the update measures."""

SETTINGS = ("actor_rate", "critic_rate", "alpha_rate", "max_norm", "tau", "alpha", "target_entropy")
"""What its settings are, in order; ``max_norm`` may be infinite, and ``alpha`` 0 means that it is adapted."""


class SACState(NamedTuple):
    """What gradient steps change.

    Attributes:
        actor: ``[P]``, parameters.
        critics: ``[Q]``, of both.
        target: ``[Q]``, of their slow copies.
        log_alpha: ``[1]``, the logarithm of the temperature.
        moments: States of the three optimizers: actor, critics, temperature.
        in_a_row: int32 ``[2]``: steps of actor and critics left out since the last that was made.
    """

    actor: Any
    critics: Any
    target: Any
    log_alpha: Any
    moments: tuple[Any, Any, Any]
    in_a_row: Any


def make_sac_update(
    layouts: tuple[Layout, Layout], actor: Network, critics: TwinCritics, optimizers: tuple[Any, Any, Any]
) -> Callable[[SACState, Batches, Any], tuple[SACState, Any, Any]]:
    """``(state, batches, settings) -> (state, measured, priorities)``, for :func:`optix_tf.training.rounds.rounds`.

    ``measured`` is ``[n, len(MEASURED)]`` for the n steps that were tried, ``priorities`` ``[B]`` of the last of them.
    ``batches`` has ``noise`` ``[K, B, 2, A]``, standard normal draws for next actions and for actions.

    Args:
        layouts: Of the vectors of actor and critics.
        actor: ``[B, *obs]`` to ``[B, 2 A]``.
        critics: Both.
        optimizers: Of actor, critics and temperature.
    """
    actor_layout, critic_layout = layouts
    dtype = actor_layout.dtype
    actor_optimizer, critic_optimizer, alpha_optimizer = optimizers

    def gradient_step(state: SACState, batch: Batches, settings: Any) -> tuple[SACState, Any, Any, Any]:
        actor_rate, critic_rate, alpha_rate, max_norm, tau, fixed, target_entropy = tf.unstack(
            settings, num=len(SETTINGS)
        )
        observations, following = (cast(batch[name], dtype) for name in ("observations", "following"))
        alpha = tf.where(fixed > 0.0, fixed, tf.exp(state.log_alpha[0]))
        parts = actor_layout.split(state.actor)
        # Targets: the present policy chooses what comes next, the slow critics say what that is worth.
        next_actions, next_log_probs = squashed.sample(actor(parts, following), batch["noise"][:, 0])
        next_values = critics.values(critic_layout.split(state.target), following, next_actions)
        targets = soft_targets(batch["rewards"], batch["discounts"], *next_values, next_log_probs, alpha)
        critic = critic_step(
            critics,
            critic_layout,
            critic_optimizer,
            state.critics,
            state.moments[1],
            batch,
            observations,
            targets,
            learning_rate=critic_rate,
            max_norm=max_norm,
            in_a_row=state.in_a_row[1],
        )
        learned, made = critic.step.vector, critic.step.made
        # Actor: minimises mean(alpha log pi - min Q), climbing the critics as they are now.
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(parts)
            chosen, log_probs = squashed.sample(actor(parts, observations), batch["noise"][:, 1])
            values = critics.values(critic_layout.split(learned), observations, chosen)
            loss = sac_actor_loss(log_probs, *values, alpha)
        policy = guarded_step(
            actor_optimizer,
            actor_layout.join(tape.gradient(loss, parts)),
            state.actor,
            state.moments[0],
            learning_rate=actor_rate,
            max_norm=max_norm,
            in_a_row=state.in_a_row[0],
            wanted=made,
        )
        # Temperature: follows the entropy, unless it is fixed.
        temperature = guarded_step(
            alpha_optimizer,
            temperature_slope(log_probs, target_entropy)[None],
            state.log_alpha,
            state.moments[2],
            learning_rate=alpha_rate,
            max_norm=tf.constant(float("inf"), dtype),
            in_a_row=0,
            wanted=tf.logical_and(policy.made, fixed <= 0.0),
        )
        target = tf.cond(made, lambda: followed(state.target, learned, tau), lambda: state.target)
        after = SACState(
            policy.vector,
            learned,
            target,
            temperature.vector,
            (policy.state, critic.step.state, temperature.state),
            tf.stack([policy.in_a_row, critic.step.in_a_row]),
        )
        failed = tf.logical_not(tf.logical_and(made, policy.made))
        stop = tf.logical_and(failed, tf.reduce_any(is_divergence(after.in_a_row)))
        row = tf.stack([*critic.measured, policy.norm, loss, -tf.reduce_mean(log_probs)])
        return after, stop, row, critic.priorities

    return gradient_loop(gradient_step, len(MEASURED), dtype)
