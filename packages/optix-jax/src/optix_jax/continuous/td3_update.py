"""TD3's gradient steps: all that are due at one moment, as one compiled scan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from optix_jax.continuous.critic_step import critic_step
from optix_jax.continuous.losses import smoothed_actions, td3_actor_loss, td3_targets
from optix_jax.continuous.twin import CriticFunctions
from optix_jax.training.guarded import diverged, guarded_step
from optix_jax.training.optimizers import Optimizer
from optix_jax.training.rounds import scanned
from optix_jax.training.targets import polyak

Params = Any


class TD3State(NamedTuple):
    """What gradient steps change.

    Attributes:
        actor: Parameters.
        critics: Of both, by name.
        target: Of the critics' slow copies.
        target_actor: Of the actor's slow copy.
        steps: int32, critic steps made so far: they decide when it is the actor's turn.
        moments: The optimizers' states by ``actor`` and ``critics``.
        in_a_row: By the same: int32, steps left out since the last that was made.
    """

    actor: Params
    critics: Params
    target: Params
    target_actor: Params
    steps: jax.Array
    moments: dict[str, Any]
    in_a_row: dict[str, jax.Array]


MEASURED = ("tried", "critic_norm", "critic_loss", "q_mean", "turn", "actor_norm", "actor_loss")
"""Rows of what the update measures.

``tried`` is 0 for steps after a divergence, which were not made; ``turn`` is 1 where the actor learned too, and what
follows it means something only there.
"""


def td3_update(
    actor: Callable[[Params, Any], jax.Array],
    critics: CriticFunctions,
    actor_optimizer: Optimizer,
    critics_optimizer: Optimizer,
) -> Callable[[TD3State, Mapping[str, Any], Mapping[str, Any]], tuple[TD3State, jax.Array, Any]]:
    """The function ``(state, batches, hp) -> (state, measured, priorities)``.

    ``batches`` has ``observations``, ``actions``, ``rewards``, ``discounts``, ``following``, ``weights``, each
    ``[K, B, ...]``, and ``noise`` ``[K, 1, B, A]``. ``hp`` has the scalars ``actor_rate``, ``critic_rate``,
    ``max_norm`` (perhaps infinite), ``tau``, ``policy_delay``, ``target_noise`` and ``target_noise_clip``. Results
    are as for :func:`optix_jax.continuous.sac_update.sac_update`.

    Args:
        actor: ``(params, observations) -> [B, A]``.
        critics: Both; the actor climbs the first.
        actor_optimizer: Of the actor.
        critics_optimizer: Of both critics.
    """

    def gradient_step(
        hp: Mapping[str, Any], carry: tuple[TD3State, jax.Array], batch: Mapping[str, Any]
    ) -> tuple[Any, Any]:
        state, stopped = carry
        observations, following = batch["observations"], batch["following"]
        # Targets: similar actions shall have similar values.
        next_actions = smoothed_actions(
            actor(state.target_actor, following),
            hp["target_noise"] * batch["noise"][0],
            hp["target_noise_clip"],
        )
        next_q1, next_q2 = critics.values(state.target, following, next_actions)
        targets = td3_targets(batch["rewards"], batch["discounts"], next_q1, next_q2)
        critic = critic_step(
            critics,
            critics_optimizer,
            state.critics,
            state.moments["critics"],
            batch,
            targets,
            hp,
            in_a_row=state.in_a_row["critics"],
            wanted=~stopped,
        )
        steps = state.steps + critic.step.made
        state = state._replace(
            critics=critic.step.params,
            steps=steps,
            moments={**state.moments, "critics": critic.step.state},
            in_a_row={**state.in_a_row, "critics": critic.step.in_a_row},
        )

        # Actor and all targets, delayed: minimises -mean(Q1).
        def delayed(state: TD3State) -> tuple[TD3State, jax.Array, jax.Array, jax.Array]:
            def actor_loss(params: Params) -> jax.Array:
                q1 = critics.first(state.critics, observations, actor(params, observations))
                return jnp.mean(td3_actor_loss(q1))

            loss, gradients = jax.value_and_grad(actor_loss)(state.actor)
            policy = guarded_step(
                actor_optimizer,
                state.actor,
                gradients,
                state.moments["actor"],
                learning_rate=hp["actor_rate"],
                max_norm=hp["max_norm"],
                in_a_row=state.in_a_row["actor"],
            )
            after = state._replace(
                actor=policy.params,
                target=polyak(state.target, state.critics, hp["tau"]),
                target_actor=polyak(state.target_actor, policy.params, hp["tau"]),
                moments={**state.moments, "actor": policy.state},
                in_a_row={**state.in_a_row, "actor": policy.in_a_row},
            )
            return after, policy.norm, loss, ~policy.made & diverged(policy.in_a_row)

        def waiting(state: TD3State) -> tuple[TD3State, jax.Array, jax.Array, jax.Array]:
            nothing = jnp.zeros_like(critic.loss)
            return state, nothing, nothing, jnp.asarray(False)

        turn = critic.step.made & (steps % hp["policy_delay"] == 0)
        state, norm, loss, failed = lax.cond(turn, delayed, waiting, state)
        measured = jnp.stack(
            [1.0 - stopped, critic.step.norm, critic.loss, critic.q_mean, 1.0 * turn, norm, loss]
        )
        failed |= ~critic.step.made & diverged(critic.step.in_a_row)
        return (state, stopped | failed), (measured, critic.priorities)

    return scanned(gradient_step)
