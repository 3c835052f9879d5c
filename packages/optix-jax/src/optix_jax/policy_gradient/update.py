"""The whole PPO update of a window, all epochs and minibatches, as one compiled function.

Nothing that can be tuned is a shape: hyperparameters are arguments, and the number of epochs is a loop's limit. Shapes
are those of the window and of a minibatch; the order of samples is an argument too, drawn by numpy's generators.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

from optix_core.agents.ppo_update import PPOBatch, UpdateReport, epoch_order
from optix_core.agents.steps import StepLog
from optix_jax.policy_gradient.losses import (
    LOG_RATIO_BOUND,
    Distribution,
    approximate_kl,
    ppo_clip_loss,
    value_loss,
)
from optix_jax.training.compiled import tree_of
from optix_jax.training.guarded import diverged, guarded_step
from optix_jax.training.optimizers import Optimizer

Params = Any

STEP = ("tried", "norm", "policy_loss", "value_loss", "entropy")
"""What each gradient step measures; ``tried`` is 0 where none was made any more."""
EPOCH = ("kl", "clipped", "n")
"""Sums over the samples of each epoch, and how many there were."""
TRACED = (
    "learning_rate",
    "clip_ratio",
    "entropy_coef",
    "vf_coef",
    "max_grad_norm",
    "target_kl",
    "value_clip",
)
"""Hyperparameters that the compiled function is given, besides ``n_epochs``."""


_EPOCHS = 16
"""Room for so many epochs is always there, so that another number of them compiles nothing."""


class Orders(NamedTuple):
    """Which samples make each minibatch.

    Attributes:
        rows: ``[E, M, S]`` int32: rows of the window; E is 16, or the next power of two where there are more epochs.
        weights: ``[M, S]``, 0 where the last, smaller minibatch is filled up; None where all are full.
    """

    rows: NDArray[np.int32]
    weights: NDArray[np.float32] | None


def orders(n: int, size: int, n_epochs: int, rng: np.random.Generator) -> Orders:
    """``n_epochs`` passes over ``n`` samples in minibatches of ``size``, in core's random order."""
    size = min(size, n)
    pieces = -(-n // size)
    rounded = max(_EPOCHS, 1 << (n_epochs - 1).bit_length())
    index = np.zeros((rounded, pieces * size), np.int32)
    for epoch in range(n_epochs):
        index[epoch, :n] = epoch_order(n, size, rng)[0]
    weights = None
    if n % size:
        weights = np.ones(pieces * size, np.float32)
        weights[n:] = 0.0
        weights = weights.reshape(pieces, size)
    return Orders(index.reshape(rounded, pieces, size), weights)


def window_arrays(batch: PPOBatch) -> dict[str, Any]:
    """What the compiled function reads of a window."""
    actions = batch.actions.astype(np.float32 if batch.actions.dtype.kind == "f" else np.int32)
    columns = np.stack([batch.log_probs, batch.advantages, batch.targets, batch.values]).astype(np.float32)
    return {
        "observations": tree_of(batch.observations),
        "actions": actions,
        "columns": columns,
        "masks": batch.masks,
    }


class Evaluation(Protocol):
    """Actor and critic as one pure function, and the form of their parameters that suits it."""

    def __call__(self, params: Params, observations: Any) -> tuple[jax.Array, jax.Array]:
        """``(actor outputs [B, out], values [B])`` for parameters as :meth:`inside` gives them."""
        ...

    def inside(self, params: Params, moments: Any) -> tuple[Params, Any]:
        """Parameters and the optimizer's state in the form that they have during an update."""
        ...

    def outside(self, params: Params, moments: Any) -> tuple[Params, Any]:
        """The inverse of :meth:`inside`."""
        ...


def ppo_update(
    evaluate: Evaluation,
    distribution: Distribution,
    optimizer: Optimizer,
) -> Callable[..., tuple[Params, Any, jax.Array, jax.Array, jax.Array]]:
    """The function ``(params, moments, window, index, weights, hp) -> (params, moments, steps, epochs, finite)``.

    ``window`` is what :func:`window_arrays` gives, ``index`` and ``weights`` are :class:`Orders`, ``hp`` holds the
    numbers of :data:`TRACED` and ``n_epochs``. ``steps`` is ``[E, M, len(STEP)]``, ``epochs`` ``[E, len(EPOCH)]``;
    ``finite`` says whether the parameters are; if not, they and the moments are what they were.

    Args:
        evaluate: Actor and critic.
        distribution: What the outputs mean.
        optimizer: Steps ``params``.
    """

    def minibatch_loss(
        params: Params, batch: Mapping[str, Any], weights: jax.Array | None, hp: Mapping[str, Any]
    ) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        outputs, values = evaluate(params, batch["observations"])
        log_probs, entropies = distribution(outputs, batch["actions"], batch["masks"])
        old_log_probs, advantages, targets, old_values = batch["columns"]
        policy = ppo_clip_loss(log_probs, old_log_probs, advantages, hp["clip_ratio"])
        value = value_loss(values, targets, old_values, hp["value_clip"])
        losses = [_mean(each, weights) for each in (policy, value, entropies)]
        loss = losses[0] + hp["vf_coef"] * losses[1] - hp["entropy_coef"] * losses[2]
        return loss, (*losses, log_probs - old_log_probs)

    def update(
        params: Params,
        moments: Any,
        window: Mapping[str, Any],
        index: jax.Array,
        weights: jax.Array | None,
        hp: Mapping[str, Any],
    ) -> tuple[Params, Any, jax.Array, jax.Array, jax.Array]:
        gradient = jax.value_and_grad(minibatch_loss, has_aux=True)
        before = evaluate.inside(params, moments)

        def gradient_step(carry: Any, piece: Any) -> tuple[Any, Any]:
            params, moments, in_a_row = carry
            rows, kept = piece
            batch = {
                "observations": jax.tree.map(lambda a: a[rows], window["observations"]),
                "actions": window["actions"][rows],
                "columns": window["columns"][:, rows],
                "masks": None if window["masks"] is None else window["masks"][rows],
            }
            (_, measured), gradients = gradient(params, batch, kept, hp)
            *losses, log_ratio = measured
            going = ~diverged(in_a_row)
            step = guarded_step(
                optimizer,
                params,
                gradients,
                moments,
                learning_rate=hp["learning_rate"],
                max_norm=hp["max_grad_norm"],
                in_a_row=in_a_row,
                wanted=going,
            )
            ratio = jnp.expm1(jnp.clip(log_ratio, -LOG_RATIO_BOUND, LOG_RATIO_BOUND))
            outside = (jnp.abs(ratio) > hp["clip_ratio"]).astype(ratio.dtype)
            n = jnp.asarray(len(rows), ratio.dtype) if kept is None else kept.sum()
            sums = jnp.stack([_mean(approximate_kl(log_ratio), kept) * n, _mean(outside, kept) * n, n])
            row = jnp.stack([going.astype(ratio.dtype), step.norm, *losses])
            return (step.params, step.state, step.in_a_row), (row, jnp.where(step.made, sums, 0.0))

        def epoch(carry: Any) -> Any:
            k, _, state, steps, epochs = carry
            state, (rows, sums) = lax.scan(gradient_step, state, (index[k], weights))
            total = sums.sum(axis=0)
            far = (hp["target_kl"] > 0.0) & (total[0] > hp["target_kl"] * total[2])
            done = far | diverged(state[2])
            return k + 1, done, state, steps.at[k].set(rows), epochs.at[k].set(total)

        dtype = window["columns"].dtype
        start = (
            jnp.int32(0),
            jnp.asarray(False),
            (*before, jnp.int32(0)),
            jnp.zeros((*index.shape[:2], len(STEP)), dtype),
            jnp.zeros((len(index), len(EPOCH)), dtype),
        )
        _, _, (after, moved, _), steps, epochs = lax.while_loop(
            lambda carry: (carry[0] < hp["n_epochs"]) & ~carry[1], epoch, start
        )
        finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(after)]).all()

        def whole(new: jax.Array, old: jax.Array) -> jax.Array:
            return jnp.where(finite, new, old)

        params, moments = evaluate.outside(*jax.tree.map(whole, (after, moved), before))
        return params, moments, steps, epochs, finite

    return update


def report_of(steps: NDArray[Any], epochs: NDArray[Any], *, finite: bool) -> UpdateReport:
    """What the compiled function measured, as every framework reports it."""
    report = UpdateReport()
    rows = steps.reshape(-1, len(STEP))
    tried = rows[rows[:, 0] > 0.0]
    log = StepLog()
    log.extend(tried[:, 1])
    report.n_updates, report.n_skipped = log.n_updates, log.n_skipped
    report.diverged = log.diverged or not finite
    made = tried[np.isfinite(tried[:, 1])]
    report.grad_norm = made[:, 1].tolist()
    report.policy_loss, report.value_loss, report.entropy = made[:, 2:].T.tolist()
    some = epochs[epochs[:, 2] > 0.0]
    report.approx_kl = (some[:, 0] / some[:, 2]).tolist()
    report.clip_fraction = (some[:, 1] / some[:, 2]).tolist()
    return report


def _mean(values: jax.Array, weights: jax.Array | None) -> jax.Array:
    """Over samples; those that only fill up a minibatch do not count."""
    if weights is None:
        return values.mean()
    return jnp.where(weights > 0.0, values, 0.0).sum() / weights.sum()
