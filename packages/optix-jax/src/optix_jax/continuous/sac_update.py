"""Soft actor-critic's gradient steps: all that are due at one moment, as one compiled scan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optix_jax.continuous import squashed
from optix_jax.continuous.critic_step import critic_step
from optix_jax.continuous.losses import sac_actor_loss, soft_targets, temperature_loss
from optix_jax.continuous.twin import CriticFunctions
from optix_jax.training.guarded import diverged, guarded_step
from optix_jax.training.optimizers import Optimizer
from optix_jax.training.rounds import scanned
from optix_jax.training.targets import polyak

Params = Any


class SACState(NamedTuple):
    """What gradient steps change.

    Attributes:
        actor: Parameters.
        critics: Of both, by name.
        target: Of their slow copies.
        temperature: ``{"temperature": {"log_alpha": [1]}}``, its logarithm.
        moments: The optimizers' states by ``actor``, ``critics`` and ``temperature``.
        in_a_row: By ``actor`` and ``critics``: int32, steps left out since the last that was made.
    """

    actor: Params
    critics: Params
    target: Params
    temperature: Params
    moments: dict[str, Any]
    in_a_row: dict[str, jax.Array]


MEASURED = ("tried", "critic_norm", "critic_loss", "q_mean", "turn", "actor_norm", "actor_loss", "entropy")
"""Rows of what the update measures.

``tried`` is 0 for steps after a divergence, which were not made; ``turn`` is 1 where the actor learned too, and what
follows it means something only there.
"""


def sac_update(
    actor: Callable[[Params, Any], jax.Array],
    critics: CriticFunctions,
    actor_optimizer: Optimizer,
    critics_optimizer: Optimizer,
    temperature_optimizer: Optimizer,
) -> Callable[[SACState, Mapping[str, Any], Mapping[str, Any]], tuple[SACState, jax.Array, Any]]:
    """The function ``(state, batches, hp) -> (state, measured, priorities)``.

    ``batches`` has ``observations``, ``actions``, ``rewards``, ``discounts``, ``following``, ``weights``, each
    ``[K, B, ...]``, and ``noise`` ``[K, 2, B, A]``. ``hp`` has the scalars ``actor_rate``, ``critic_rate``,
    ``alpha_rate``, ``max_norm`` (perhaps infinite), ``tau``, ``alpha`` (0: adapted) and ``target_entropy``.
    ``measured`` is ``[len(MEASURED), K]``; ``priorities`` are the mean sizes of both errors ``[K, B]``.

    Args:
        actor: ``(params, observations) -> [B, 2 A]``.
        critics: Both.
        actor_optimizer: Of the actor.
        critics_optimizer: Of both critics.
        temperature_optimizer: Of the temperature.
    """

    def gradient_step(
        hp: Mapping[str, Any], carry: tuple[SACState, jax.Array], batch: Mapping[str, Any]
    ) -> tuple[Any, Any]:
        state, stopped = carry
        observations, following, noise = batch["observations"], batch["following"], batch["noise"]
        alpha = jnp.where(
            hp["alpha"] > 0.0, hp["alpha"], jnp.exp(state.temperature["temperature"]["log_alpha"][0])
        )
        # Targets: the present policy chooses what comes next, the slow critics say what that is worth.
        next_actions, next_log_probs = squashed.sample(actor(state.actor, following), noise[0])
        next_q1, next_q2 = critics.values(state.target, following, next_actions)
        targets = soft_targets(batch["rewards"], batch["discounts"], next_q1, next_q2, next_log_probs, alpha)
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

        # Actor: minimises mean(alpha log pi - min Q), climbing the critics as they are now.
        def actor_loss(params: Params) -> tuple[jax.Array, jax.Array]:
            chosen, log_probs = squashed.sample(actor(params, observations), noise[1])
            q1, q2 = critics.values(critic.step.params, observations, chosen)
            return jnp.mean(sac_actor_loss(log_probs, q1, q2, alpha)), log_probs

        (loss, log_probs), gradients = jax.value_and_grad(actor_loss, has_aux=True)(state.actor)
        policy = guarded_step(
            actor_optimizer,
            state.actor,
            gradients,
            state.moments["actor"],
            learning_rate=hp["actor_rate"],
            max_norm=hp["max_norm"],
            in_a_row=state.in_a_row["actor"],
            wanted=critic.step.made,
        )

        # Temperature: follows the entropy, unless it is fixed.
        def temperature_mean(params: Params) -> jax.Array:
            return jnp.mean(
                temperature_loss(params["temperature"]["log_alpha"][0], log_probs, hp["target_entropy"])
            )

        temperature = guarded_step(
            temperature_optimizer,
            state.temperature,
            jax.grad(temperature_mean)(state.temperature),
            state.moments["temperature"],
            learning_rate=hp["alpha_rate"],
            max_norm=jnp.inf,
            in_a_row=jnp.int32(0),
            wanted=policy.made & (hp["alpha"] == 0.0),
        )
        target = polyak(state.target, critic.step.params, jnp.where(critic.step.made, hp["tau"], 0.0))
        measured = jnp.stack(
            [
                1.0 - stopped,
                critic.step.norm,
                critic.loss,
                critic.q_mean,
                1.0 * critic.step.made,
                policy.norm,
                loss,
                -log_probs.mean(),
            ]
        )
        after = SACState(
            actor=policy.params,
            critics=critic.step.params,
            target=target,
            temperature=temperature.params,
            moments={"actor": policy.state, "critics": critic.step.state, "temperature": temperature.state},
            in_a_row={"actor": policy.in_a_row, "critics": critic.step.in_a_row},
        )
        failed = (~critic.step.made & diverged(critic.step.in_a_row)) | (
            critic.step.made & ~policy.made & diverged(policy.in_a_row)
        )
        return (after, stopped | failed), (measured, critic.priorities)

    return scanned(gradient_step)
