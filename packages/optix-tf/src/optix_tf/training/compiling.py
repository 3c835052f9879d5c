"""Compiled functions that count how often they were compiled, shared by agents whose networks have equal shapes."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any

import tensorflow as tf

_KEPT = 64
"""So many shared functions are kept, those used last."""


class Compiled:
    """A ``tf.function`` without AutoGraph.

    It is compiled once for every set of types and shapes of its arguments. Numbers must come as tensors or numpy
    values: a Python number would be compiled in.

    Args:
        function: Of tensors, or of lists and dicts of tensors.
        xla: Whether XLA compiles it; otherwise TensorFlow runs its graph operation by operation.

    Attributes:
        n_compilations: How often it was compiled so far.
    """

    def __init__(self, function: Callable[..., Any], *, xla: bool) -> None:
        self.n_compilations = 0

        def counted(*arguments: Any) -> Any:
            self.n_compilations += 1  # runs while TensorFlow traces, never afterwards
            return function(*arguments)

        self._call = tf.function(counted, jit_compile=xla, autograph=False)

    def __call__(self, *arguments: Any) -> Any:
        """What the function returns, as eager tensors."""
        return self._call(*arguments)


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
