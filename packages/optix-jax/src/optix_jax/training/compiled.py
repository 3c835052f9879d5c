"""Compiled functions that count how often they were compiled."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
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
        n_compilations: How many combinations were met here for the first time.
    """

    def __init__(self, function: Callable[..., Any], *, donate: tuple[int, ...] = ()) -> None:
        self.n_compilations = 0
        self._jitted = _Jitted(function, donate)

    @classmethod
    def made_by(
        cls, maker: Callable[..., Callable[..., Any]], *parts: Any, donate: tuple[int, ...] = ()
    ) -> Compiled:
        """``maker(*parts)`` compiled, once for all that are made of equal parts.

        Agents with networks of one shape, as in a population or a search, then share their programs. Parts that do not
        say that they are ``shareable``, that is, compared by what they compute, make a program of their own.
        """
        found = cls.__new__(cls)
        found.n_compilations = 0
        together = all(getattr(part, "shareable", False) for part in parts)
        found._jitted = _shared(maker, donate, parts) if together else _Jitted(maker(*parts), donate)
        return found

    def __call__(self, *arguments: Any) -> Any:
        """What ``function`` gives."""
        before = self._jitted.n_traces
        result = self._jitted.run(*arguments)
        self.n_compilations += self._jitted.n_traces - before
        return result


class _Jitted:
    """A compiled function and how often it was traced."""

    def __init__(self, function: Callable[..., Any], donate: tuple[int, ...]) -> None:
        self.n_traces = 0

        def traced(*arguments: Any) -> Any:
            self.n_traces += 1  # runs while tracing only
            return function(*arguments)

        self.run = jax.jit(traced, donate_argnums=donate)


@lru_cache(maxsize=16)
def _shared(
    maker: Callable[..., Callable[..., Any]], donate: tuple[int, ...], parts: tuple[Any, ...]
) -> _Jitted:
    return _Jitted(maker(*parts), donate)


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
