"""Compiled functions that count how often they were compiled, shared by agents whose networks have equal shapes."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any

import tensorflow as tf

_KEPT = 64
"""So many shared functions are kept, those used last."""


class Compiled:
    """A function of tensors, or of nested tuples, lists and dicts of them, that is compiled and not interpreted.

    It is compiled once for every set of types and shapes of its arguments. Numbers must come as tensors or numpy
    values; None may stand for what there is not.

    Args:
        function: Made of TensorFlow's operations.
        xla: Whether XLA compiles it; otherwise TensorFlow runs its graph operation by operation.

    Attributes:
        n_compilations: How often it was compiled so far.
    """

    def __init__(self, function: Callable[..., Any], *, xla: bool) -> None:
        self.n_compilations = 0
        self._function, self._xla = function, xla
        self._compiled: dict[Any, Any] = {}

    def __call__(self, *arguments: Any) -> Any:
        """What the function returns, as eager tensors."""
        leaves: list[Any] = tf.nest.flatten(arguments)
        key = tuple((leaf.dtype.name, tuple(leaf.shape)) if leaf is not None else None for leaf in leaves)
        found = self._compiled.get(key)
        if found is None:
            found = self._compiled[key] = self._compile(arguments, leaves)
        return found(*[leaf for leaf in leaves if leaf is not None])

    def _compile(self, arguments: Any, leaves: list[Any]) -> Any:
        """The function for these types and shapes, of the leaves that are there, one after another."""

        def flat(*tensors: Any) -> Any:
            self.n_compilations += 1
            given = iter(tensors)
            filled = [None if leaf is None else next(given) for leaf in leaves]
            return self._function(*tf.nest.pack_sequence_as(arguments, filled))

        specs = [tf.TensorSpec(leaf.shape, leaf.dtype) for leaf in leaves if leaf is not None]
        traced = tf.function(flat, jit_compile=self._xla, autograph=False)
        return traced.get_concrete_function(*specs)


def compiled(
    make: Callable[..., Callable[..., Any]], *key: Hashable, shareable: bool, xla: bool = True
) -> Compiled:
    """``make(*key)``, compiled; the one from before if there is one that may be shared.

    Compiling a whole update takes seconds. Agents of equal shapes (restarts, trials, members of a population) get the
    same function, since all that differs between them is an argument.

    Args:
        make: Makes the function.
        key: All that it depends on.
        shareable: Whether the key compares by value. Keys that hold models must not be kept.
        xla: See :class:`Compiled`.
    """
    return _shared(make, xla, *key) if shareable else Compiled(make(*key), xla=xla)


@lru_cache(maxsize=_KEPT)
def _shared(make: Callable[..., Callable[..., Any]], xla: bool, *key: Hashable) -> Compiled:
    return Compiled(make(*key), xla=xla)
