"""TD3's gradient steps: all that are due at one moment, as one function to be compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from optix_tf.continuous.critic_step import critic_step
from optix_tf.continuous.losses import smoothed_actions, td3_actor_loss, td3_targets
from optix_tf.continuous.twin import TwinCritics
from optix_tf.training.batching import cast
from optix_tf.training.gradient_loop import gradient_loop
from optix_tf.training.guarded import guarded_step, is_divergence
from optix_tf.training.parameters import Layout, Network
from optix_tf.training.rounds import Batches
from optix_tf.training.targets import followed

MEASURED = ("critic_grad_norm", "critic_loss", "q_mean", "is_turn", "actor_grad_norm", "actor_loss")
"""Columns of what the update measures; ``is_turn`` is 1 where the actor learned; else what follows is 0."""

SETTINGS = (
    "actor_rate",
    "critic_rate",
    "max_norm",
    "tau",
    "policy_delay",
    "target_noise",
    "target_noise_clip",
)
"""What its settings are, in order; ``max_norm`` may be infinite."""


class TD3State(NamedTuple):
    """What gradient steps change.

    Attributes:
        actor: ``[P]``, parameters.
        slow_actor: ``[P]``, of its slow copy.
        critics: ``[Q]``, of both.
        target: ``[Q]``, of their slow copies.
        moments: States of both optimizers: actor, critics.
        steps: int32, steps of the critics made so far.
        in_a_row: int32 ``[2]``: steps of actor and critics left out since the last that was made.
    """

    actor: Any
    slow_actor: Any
    critics: Any
    target: Any
    moments: tuple[Any, Any]
    steps: Any
    in_a_row: Any


def make_td3_update(
    layouts: tuple[Layout, Layout], actor: Network, critics: TwinCritics, optimizers: tuple[Any, Any]
) -> Callable[[TD3State, Batches, Any], tuple[TD3State, Any, Any]]:
    """``(state, batches, settings) -> (state, measured, priorities)``, for :func:`optix_tf.training.rounds.rounds`.

    ``measured`` is ``[n, len(MEASURED)]`` for the n steps that were tried, ``priorities`` ``[B]`` of the last of them.
    ``batches`` has ``noise`` ``[K, B, 1, A]``, standard normal draws.

    Args:
        layouts: Of the vectors of actor and critics.
        actor: ``[B, *obs]`` to ``[B, A]``.
        critics: Both.
        optimizers: Of actor and critics.
    """
    actor_layout, critic_layout = layouts
    dtype = actor_layout.dtype
    actor_optimizer, critic_optimizer = optimizers

    def gradient_step(state: TD3State, batch: Batches, settings: Any) -> tuple[TD3State, Any, Any, Any]:
        actor_rate, critic_rate, max_norm, tau, delay, noise_scale, noise_clip = tf.unstack(
            settings, num=len(SETTINGS)
        )
        observations, following = (cast(batch[name], dtype) for name in ("observations", "following"))
        # Targets: similar actions shall have similar values.
        proposed = actor(actor_layout.split(state.slow_actor), following)
        next_actions = smoothed_actions(proposed, noise_scale * batch["noise"][:, 0], noise_clip)
        next_values = critics.values(critic_layout.split(state.target), following, next_actions)
        targets = td3_targets(batch["rewards"], batch["discounts"], *next_values)
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
        steps = state.steps + tf.cast(made, tf.int32)
        turn = tf.logical_and(made, tf.equal(steps % tf.cast(delay, tf.int32), 0))

        # Actor and all targets, delayed: minimises -mean(Q1).
        def delayed() -> Any:
            parts = actor_layout.split(state.actor)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(parts)
                actions = actor(parts, observations)
                loss = td3_actor_loss(
                    critics.first_values(critic_layout.split(learned), observations, actions)
                )
            policy = guarded_step(
                actor_optimizer,
                actor_layout.join(tape.gradient(loss, parts)),
                state.actor,
                state.moments[0],
                learning_rate=actor_rate,
                max_norm=max_norm,
                in_a_row=state.in_a_row[0],
            )
            slow_actor = followed(state.slow_actor, policy.vector, tau)
            target = followed(state.target, learned, tau)
            measured = (policy.norm, loss)
            return policy.vector, policy.state, slow_actor, target, policy.made, policy.in_a_row, measured

        def waiting() -> Any:
            zero = tf.zeros((), dtype)
            kept = (tf.identity(state.actor), tuple(state.moments[0]), tf.identity(state.slow_actor))
            return *kept, tf.identity(state.target), tf.constant(True), state.in_a_row[0], (zero, zero)

        vector, moments, slow_actor, target, fine, in_a_row, measured = tf.cond(turn, delayed, waiting)
        after = TD3State(
            vector,
            slow_actor,
            learned,
            target,
            (moments, critic.step.state),
            steps,
            tf.stack([in_a_row, critic.step.in_a_row]),
        )
        failed = tf.logical_not(tf.logical_and(made, fine))
        stop = tf.logical_and(failed, tf.reduce_any(is_divergence(after.in_a_row)))
        row = tf.stack([*critic.measured, tf.cast(turn, dtype), *measured])
        return after, stop, row, critic.priorities

    return gradient_loop(gradient_step, len(MEASURED), dtype)
