"""All gradient steps that are due at one moment as one compiled function, whatever their number and batch size.

TensorFlow runs the graph itself; XLA is not asked. One gradient step of SAC (256 x 256, batch 256, one thread) took
10.5 ms of CPU time either way, 8.0 ms and 7.9 ms in rounds of 16; but XLA compiles for seven seconds instead of one,
and again for every other number of steps or size of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import tensorflow as tf

from optix_core.agents.draws import Draw
from optix_tf.training.batching import staged

_KEPT = 64
"""So many shared functions are kept, those used last."""

Batches = Mapping[str, Any]


class Round:
    """``(state, batches, settings) -> result``, compiled once for each kind of batches.

    Args:
        function: Of nested tuples of tensors, a dict of tensors ``[K, B, ...]`` (or of dicts of such), and a vector.

    Attributes:
        n_compilations: How often it was compiled so far. Neither K nor B nor any number in ``settings`` matters.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._compiled: dict[Hashable, Any] = {}
        self.n_compilations = 0

    def __call__(self, state: Any, batches: Batches, settings: Any) -> Any:
        """What the function returns, as eager tensors."""
        key = _form(batches)
        call = self._compiled.get(key)
        if call is None:
            call = self._compiled[key] = self._made(state, dict(batches), settings)
        return call(tf.nest.flatten((state, dict(batches), settings)))

    def _made(self, state: Any, batches: dict[str, Any], settings: Any) -> Callable[[list[Any]], Any]:
        form, found = (state, batches, settings), []

        def counted(*tensors: Any) -> Any:
            self.n_compilations += 1  # runs while TensorFlow traces, never afterwards
            result = self._function(*tf.nest.pack_sequence_as(form, tensors))
            found.append(tf.nest.map_structure(lambda _: None, result))
            return tf.nest.flatten(result)

        def rows(array: Any) -> tf.TensorSpec:
            return tf.TensorSpec((None, None, *array.shape[2:]), tf.as_dtype(array.dtype))

        def whole(array: Any) -> tf.TensorSpec:
            return tf.TensorSpec(array.shape, tf.as_dtype(array.dtype))

        signature = (
            tf.nest.map_structure(whole, state),
            tf.nest.map_structure(rows, batches),
            whole(settings),
        )
        specs = tf.nest.flatten(signature)
        concrete = tf.function(counted, input_signature=specs, autograph=False).get_concrete_function()
        call, result = _flat_call(concrete), found[-1]
        return lambda given: tf.nest.pack_sequence_as(result, call(given))


def _flat_call(concrete: Any) -> Callable[[list[Any]], Any]:
    """``concrete`` as a function of a list of tensors and arrays, in the order of its arguments.

    TensorFlow binds and checks each argument by name, which takes 2 ms of CPU time for the 21 of SAC, a fifth of a
    gradient step. The order and the types are known here, so the inner function is called where there is one.
    """
    inner = getattr(getattr(concrete, "inference_fn", None), "call_flat", None)
    if inner is None:
        return lambda given: concrete(*map(tf.convert_to_tensor, given))

    def call(given: list[Any]) -> Any:
        tensors = [tf.convert_to_tensor(x) if isinstance(x, np.ndarray) else x for x in given]
        return inner(*tensors, *concrete.captured_inputs)

    return call


def rounds(make: Callable[..., Callable[..., Any]], *key: Hashable, shareable: bool) -> Round:
    """``make(*key)`` as a :class:`Round`; agents of equal shapes share it where it may be shared."""
    return _shared(make, *key) if shareable else Round(make(*key))


@lru_cache(maxsize=_KEPT)
def _shared(make: Callable[..., Callable[..., Any]], *key: Hashable) -> Round:
    return Round(make(*key))


def batches_of(draw: Draw, dtype: str, **more: Any) -> dict[str, Any]:
    """A stacked draw ``[K, B, ...]`` as arguments of a :class:`Round`; what there is none of is left out.

    Args:
        draw: See :func:`optix_core.agents.draws.stacked`.
        dtype: Of the parameters.
        more: What else each step gets, ``[K, ...]`` arrays of numbers.
    """
    discrete = draw.actions.dtype.kind in "iu"
    given: dict[str, Any] = {
        "observations": staged(draw.observations, dtype),
        "following": staged(draw.following, dtype),
        "actions": draw.actions.astype(np.int32) if discrete else staged(draw.actions, dtype),
        "rewards": staged(draw.rewards, dtype),
        "discounts": staged(draw.discounts, dtype),
    }
    if draw.masks is not None:
        given["masks"] = np.ascontiguousarray(draw.masks)
    if draw.weights is not None:
        given["weights"] = staged(draw.weights, dtype)
    return given | {name: staged(array, dtype) for name, array in more.items()}


def step_of(batches: Batches, k: Any) -> dict[str, Any]:
    """The k-th batch ``[B, ...]`` of all, inside a compiled function."""
    return tf.nest.map_structure(lambda tensor: tensor[k], dict(batches))


def weights_of(batch: Batches) -> Any:
    """``[B]``, or the number 1 where the draw was uniform."""
    return batch.get("weights", 1.0)


def _form(batches: Any) -> Hashable:
    if isinstance(batches, dict):
        return tuple((name, _form(part)) for name, part in batches.items())
    return batches.shape[2:], batches.dtype
