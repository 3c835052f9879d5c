"""Compiled calls of off-policy updates: batches of few sizes, hyperparameters as arguments, a scan over the steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

from optix_core.agents.draws import Draw, stacked
from optix_jax.training.compiled import tree_of

MOST_AT_ONCE = 64
"""Gradient steps of one call: what is drawn for them is held in memory together."""


def chunks(n: int) -> list[int]:
    """``n`` gradient steps as powers of two, largest first, none above :data:`MOST_AT_ONCE`.

    Each size is compiled once, so that no ``gradient_steps`` makes more than a handful of programs.

    >>> chunks(13)
    [8, 4, 1]
    """
    found = [MOST_AT_ONCE] * (n // MOST_AT_ONCE)
    rest = n % MOST_AT_ONCE
    return found + [1 << bit for bit in reversed(range(rest.bit_length())) if rest >> bit & 1]


def batches(draws: Sequence[Draw], noise: Sequence[NDArray[Any]] = ()) -> dict[str, Any]:
    """K draws from replay, and the noise of each step if there is any, as arrays ``[K, B, ...]`` for a scan."""
    drawn = stacked(draws)
    found = {
        "observations": tree_of(drawn.observations),
        "actions": tree_of(drawn.actions),
        "rewards": drawn.rewards,
        "discounts": drawn.discounts,
        "following": tree_of(drawn.following),
        "masks": drawn.masks,
        "weights": drawn.weights,
    }
    return {**found, "noise": np.stack(noise)} if noise else found


def traced(values: Mapping[str, Any], device: Any) -> dict[str, jax.Array]:
    """Hyperparameters as arguments of a compiled function: numbers of one type each, placed once."""
    kinds = {bool: np.bool_, int: np.int32, float: np.float32}
    return {name: jax.device_put(kinds[type(value)](value), device) for name, value in values.items()}


def scanned(
    gradient_step: Callable[[Mapping[str, Any], Any, Mapping[str, Any]], tuple[Any, Any]],
) -> Callable[[Any, Mapping[str, Any], Mapping[str, Any]], tuple[Any, jax.Array, Any]]:
    """``(state, batches, hp) -> (state, measured [columns, K], priorities [K, B])``: one gradient step for each batch.

    Args:
        gradient_step: ``(hp, (state, stopped), batch) -> (the same afterwards, (measured [columns], priorities [B]))``;
            ``stopped`` says that there was a divergence, after which no step is made.
    """

    def update(state: Any, batches: Mapping[str, Any], hp: Mapping[str, Any]) -> tuple[Any, jax.Array, Any]:
        (state, _), (measured, priorities) = lax.scan(
            lambda carry, batch: gradient_step(hp, carry, batch), (state, jnp.asarray(False)), batches
        )
        return state, measured.T, priorities

    return update
