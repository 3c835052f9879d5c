"""A network evaluated for any number of rows by a handful of compiled programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from optix_jax.networks.network import Params
from optix_jax.training.compiled import Compiled, tree_of

_AT_ONCE = 1 << 24
"""Numbers of input that one call takes; 64 MiB in single precision."""


class Padded:
    """``[N, *obs]`` to outputs as numpy arrays, with parameters as they are at the time of the call.

    Rows are filled up to a power of two, so that windows that differ in how many episodes ended in them are evaluated
    by one program; many large rows (images) go through in pieces.

    Args:
        apply: ``(params, observations) -> outputs``, an array or several, each ``[N, ...]``.
        current: Gives the parameters.
    """

    def __init__(self, apply: Callable[..., Any], current: Callable[[], Params]) -> None:
        self._compiled, self._current = Compiled.made_by(_itself, apply), current

    @property
    def n_compilations(self) -> int:
        """How many programs were made."""
        return self._compiled.n_compilations

    def __call__(self, observations: NDArray[Any]) -> Any:
        """Outputs for all rows."""
        n = len(observations)
        numbers = observations.nbytes // 4 if observations.dtype.names is not None else observations.size
        most = max(1, _AT_ONCE * n // max(numbers, 1))
        at_once = min(1 << (n - 1).bit_length(), 1 << (most.bit_length() - 1)) if n else 1
        params = self._current()
        pieces = [self._piece(params, observations[i : i + at_once], at_once) for i in range(0, n, at_once)]
        return pieces[0] if len(pieces) == 1 else jax.tree.map(lambda *parts: np.concatenate(parts), *pieces)

    def _piece(self, params: Params, rows: NDArray[Any], size: int) -> Any:
        n = len(rows)
        if n < size:
            filled = np.empty((size, *rows.shape[1:]), rows.dtype)
            filled[:n], filled[n:] = rows, rows[:1]
            rows = filled
        found = self._compiled(params, tree_of(rows))
        return jax.tree.map(lambda array: np.asarray(array)[:n], found)


def _itself(function: Callable[..., Any]) -> Callable[..., Any]:
    return function
