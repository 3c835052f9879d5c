"""A loss with its gradients, and what checks them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A number to be minimised.

    Attributes:
        value: Mean over the batch, weighted where the algorithm weights.
        gradients: By each network output, of that output's shape.
        each: Per sample ``[B]``, before weights and mean: what priorities are made of.
    """

    value: float
    gradients: Mapping[str, Floats]
    each: Floats = field(default_factory=lambda: np.zeros(0))


def floats(x: ArrayLike) -> Floats:
    """As float64; integers and narrower floats are exact in it."""
    return np.asarray(x, dtype=np.float64)


def sample_weights(weights: ArrayLike | None, n: int) -> Floats:
    """``[B]``; ones without any."""
    return np.ones(n) if weights is None else floats(weights)


def numerical_gradient(function: Callable[[Any], float], x: ArrayLike, step: float = 1e-3) -> Floats:
    """Gradient of ``function`` at ``x`` by central differences of fourth order.

    ``(8 (f(x+h) - f(x-h)) - (f(x+2h) - f(x-2h))) / 12h`` has an error of ``h^4 / 30`` times the fifth derivative; with
    the default step and numbers of order one about 1e-12 remain. Kinks within two steps of ``x`` spoil it.

    Args:
        function: Takes an array of the shape of ``x``, which it must not keep.
        x: Where.
        step: h, for every element.

    Returns:
        Of the shape of ``x``.
    """
    point = floats(x).copy()
    gradient = np.zeros_like(point)
    for index in np.ndindex(point.shape):
        centre = point[index]
        found: list[float] = []
        for offset in (1, -1, 2, -2):
            point[index] = centre + offset * step
            found.append(float(function(point)))
        point[index] = centre
        gradient[index] = (8.0 * (found[0] - found[1]) - (found[2] - found[3])) / (12.0 * step)
    return gradient
