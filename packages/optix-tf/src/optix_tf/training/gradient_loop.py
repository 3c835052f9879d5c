"""Gradient steps one after another inside a compiled function, until a divergence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from optix_tf.training.rounds import Batches, step_of


def gradient_loop(
    gradient_step: Callable[[Any, Batches, Any], tuple[Any, Any, Any, Any]], n_measured: int, dtype: str
) -> Callable[[Any, Batches, Any], tuple[Any, Any, Any]]:
    """``(state, batches, settings) -> (state, measured, priorities)``, for :func:`optix_tf.training.rounds.rounds`.

    ``measured`` is ``[n, n_measured]`` for the n steps that were tried, ``priorities`` ``[B]`` of the last of them.

    Args:
        gradient_step: ``(state, batch, settings) -> (state, whether to stop, [n_measured], priorities [B])``.
        n_measured: Numbers that each step measures.
        dtype: Of these numbers.
    """

    def update(state: Any, batches: Batches, settings: Any) -> tuple[Any, Any, Any]:
        due = tf.shape(batches["rewards"])[0]

        def body(k: Any, state: Any, stop: Any, rows: Any, last: Any) -> Any:
            del stop, last
            state, stop, row, last = gradient_step(state, step_of(batches, k), settings)
            return k + 1, state, stop, rows.write(k, row), last

        rows = tf.TensorArray(dtype, due, element_shape=(n_measured,))
        n, state, _, rows, last = tf.while_loop(
            lambda k, _, stop, *__: tf.logical_and(k < due, tf.logical_not(stop)),
            body,
            (tf.constant(0), state, tf.constant(False), rows, tf.zeros_like(batches["rewards"][0])),
            parallel_iterations=1,
        )
        return state, rows.stack()[:n], last

    return update
