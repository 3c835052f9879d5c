"""Deep Q-learning's gradient steps: all that are due at one moment, as one compiled scan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from optix_jax.action_values.losses import huber, q_targets, td_errors
from optix_jax.training.guarded import diverged, guarded_step
from optix_jax.training.optimizers import Optimizer

Params = Any


class QState(NamedTuple):
    """What gradient steps change.

    Attributes:
        params: Of the online network.
        moments: The optimizer's state.
        in_a_row: int32, steps left out since the last that was made.
    """

    params: Params
    moments: Any
    in_a_row: jax.Array


MEASURED = ("tried", "grad_norm", "loss", "target_mean")
"""Rows of what the update measures; ``tried`` is 0 for steps after a divergence, which were not made."""


def q_update(
    apply: Callable[[Params, Any], jax.Array], optimizer: Optimizer
) -> Callable[[QState, Params, Mapping[str, Any], Mapping[str, Any]], tuple[QState, jax.Array, jax.Array]]:
    """The function ``(state, target, batches, hp) -> (state, measured, priorities)``.

    ``batches`` has ``observations``, ``actions``, ``rewards``, ``discounts``, ``following``, ``masks`` and ``weights``,
    each ``[K, B, ...]``; masks may be None. ``hp`` has the scalars ``learning_rate``, ``max_grad_norm`` and
    ``double``. ``measured`` is ``[len(MEASURED), K]``; ``priorities`` are the sizes of the errors
    ``[K, B]``.

    Args:
        apply: ``(params, observations) -> [B, A]``.
        optimizer: Of the online network.
    """

    def update(
        state: QState, target: Params, batches: Mapping[str, Any], hp: Mapping[str, Any]
    ) -> tuple[QState, jax.Array, jax.Array]:
        def gradient_step(carry: Any, batch: Mapping[str, Any]) -> tuple[Any, Any]:
            state, stopped = carry
            # Targets: the value of what truly followed, unless it was a terminal state.
            values = apply(target, batch["following"])
            chosen_by = lax.cond(
                hp["double"], lambda params: apply(params, batch["following"]), lambda _: values, state.params
            )
            targets = q_targets(batch["rewards"], batch["discounts"], values, chosen_by, batch["masks"])

            # One step on the weighted Huber loss, left out where its gradient is not finite.
            def loss_of(params: Params) -> tuple[jax.Array, jax.Array]:
                errors = td_errors(apply(params, batch["observations"]), batch["actions"], targets)
                each = huber(errors)
                return jnp.mean(batch["weights"] * each), errors

            (loss, errors), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.params)
            step = guarded_step(
                optimizer,
                state.params,
                gradients,
                state.moments,
                learning_rate=hp["learning_rate"],
                max_norm=hp["max_grad_norm"],
                in_a_row=state.in_a_row,
                wanted=~stopped,
            )
            measured = jnp.stack([1.0 - stopped, step.norm, loss, targets.mean()])
            after = QState(step.params, step.state, step.in_a_row)
            return (after, stopped | (~step.made & diverged(step.in_a_row))), (measured, jnp.abs(errors))

        (state, _), (measured, priorities) = lax.scan(gradient_step, (state, jnp.asarray(False)), batches)
        return state, measured.T, priorities

    return update
