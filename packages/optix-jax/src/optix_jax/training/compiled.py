"""Compiled functions that count how often they were compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray


class Compiled:
    """``function``, compiled once for each combination of shapes and types of its arguments.

    Args:
        function: Pure; of pytrees of arrays.
        donate: Positions of arguments whose memory the results may take over; the caller must not use them again.

    Attributes:
        n_compilations: How many combinations there were.
    """

    def __init__(self, function: Callable[..., Any], *, donate: tuple[int, ...] = ()) -> None:
        self.n_compilations = 0

        def traced(*arguments: Any) -> Any:
            self.n_compilations += 1  # runs while tracing only
            return function(*arguments)

        self._compiled = jax.jit(traced, donate_argnums=donate)

    def __call__(self, *arguments: Any) -> Any:
        """What ``function`` gives."""
        return self._compiled(*arguments)


def tree_of(array: NDArray[Any]) -> Any:
    """``array`` as the networks' functions take it: a structured one as a dict of its fields, ``[..., *part]`` each.

    Single bytes stay what they are; every other number becomes the 32 bit kind.
    """
    if array.dtype.names is not None:
        return {name: tree_of(array[name]) for name in array.dtype.names}
    if array.dtype == np.float64:
        return array.astype(np.float32)
    if array.dtype == np.int64:
        return array.astype(np.int32)
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)
