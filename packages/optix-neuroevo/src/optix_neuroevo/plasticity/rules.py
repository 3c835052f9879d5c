"""Local rules: how an edge's weight follows what both of its ends did."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Oja:
    """``rate * (mean(post pre) - mean(post^2) w)`` (Oja 1982, "A simplified neuron model as a principal component
    analyzer", eq. 3): Hebb's product with a decay that bounds the weights.

    Alone, the weights into one linear neuron become the first principal component of what it reads, with length 1.
    """  # noqa: D205

    def change(self, pre: Array, post: Array, weights: Array, *, rate: float) -> Array:
        """Changes ``[E]`` for ``pre`` and ``post`` ``[T, E]``."""
        return rate * ((post * pre).mean(axis=0) - (post * post).mean(axis=0) * weights)


class Hebb:
    """``rate * mean(post pre)``: what fires together is wired together, without a bound of its own."""

    def change(self, pre: Array, post: Array, weights: Array, *, rate: float) -> Array:
        """Changes ``[E]`` for ``pre`` and ``post`` ``[T, E]``."""
        del weights
        return rate * np.asarray((post * pre).mean(axis=0))
