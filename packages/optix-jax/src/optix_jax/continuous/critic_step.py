"""One step of both critics towards given targets, the same for SAC and TD3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optix_jax.continuous.losses import twin_critic_loss
from optix_jax.continuous.twin import CriticFunctions
from optix_jax.training.guarded import Stepped, guarded_step
from optix_jax.training.optimizers import Optimizer

Params = Any


class CriticStep(NamedTuple):
    """What happened.

    Attributes:
        step: Parameters, optimizer, and whether the step was made.
        loss: ``mean(w (Q1 - y)^2) + mean(w (Q2 - y)^2)``.
        q_mean: Over both critics.
        priorities: ``[B]``, the mean size of both errors.
    """

    step: Stepped
    loss: jax.Array
    q_mean: jax.Array
    priorities: jax.Array


def critic_step(
    critics: CriticFunctions,
    optimizer: Optimizer,
    params: Params,
    moments: Any,
    batch: Mapping[str, Any],
    targets: jax.Array,
    hp: Mapping[str, Any],
    *,
    in_a_row: jax.Array,
    wanted: jax.Array,
) -> CriticStep:
    """One guarded step on ``batch``, whose targets are ``targets`` ``[B]``."""

    def loss_of(params: Params) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        values = critics.values(params, batch["observations"], batch["actions"])
        each = twin_critic_loss(*values, targets)
        return jnp.mean(batch["weights"] * each), values

    (loss, (q1, q2)), gradients = jax.value_and_grad(loss_of, has_aux=True)(params)
    step = guarded_step(
        optimizer,
        params,
        gradients,
        moments,
        learning_rate=hp["critic_rate"],
        max_norm=hp["max_norm"],
        in_a_row=in_a_row,
        wanted=wanted,
    )
    priorities = 0.5 * (jnp.abs(q1 - targets) + jnp.abs(q2 - targets))
    return CriticStep(step, loss, 0.5 * (q1.mean() + q2.mean()), priorities)
