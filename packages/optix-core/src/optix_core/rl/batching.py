"""How a window is cut into minibatches, and the one definition of standardising."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def minibatch_indices(n: int, size: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """One pass over ``0 .. n-1`` in random order, in ``ceil(n / size)`` pieces.

    Args:
        n: Number of samples, at least 0.
        size: Samples per piece, at least 1; the last piece may be smaller.
        rng: Draws one permutation.

    Yields:
        ``[B]`` int64 indices; together they are a permutation.
    """
    if n < 0 or size < 1:
        raise ValueError(f"n is {n} and size is {size}; expected n >= 0 and size >= 1")
    order = rng.permutation(n)
    for start in range(0, n, size):
        yield order[start : start + size]


def make_minibatches(
    data: Mapping[str, NDArray[Any]],
    minibatch_size: int,
    shuffle: bool = True,
    *,
    rng: np.random.Generator | None = None,
) -> Iterator[dict[str, NDArray[Any]]]:
    """One pass over arrays that share their first axis.

    Args:
        data: Name to array ``[B, ...]``.
        minibatch_size: Rows per minibatch, at least 1; the last one may be smaller.
        shuffle: Random order (needs ``rng``) or the given order (yields views).
        rng: Where the order comes from.

    Yields:
        ``ceil(B / minibatch_size)`` dicts with the same names.

    Raises:
        ValueError: Lengths differ, ``data`` is empty, or ``shuffle`` without ``rng``.
    """
    if not data:
        raise ValueError("data is empty: there is nothing to cut into minibatches")
    lengths = {name: len(array) for name, array in data.items()}
    length = next(iter(lengths.values()))
    if any(other != length for other in lengths.values()):
        raise ValueError(f"arrays differ in length: {lengths}")
    if minibatch_size < 1:
        raise ValueError(f"minibatch_size is {minibatch_size}; it must be at least 1")
    if shuffle:
        if rng is None:
            raise ValueError(
                "shuffle=True needs rng=, a numpy Generator: optix never draws from global random state"
            )
        for index in minibatch_indices(length, minibatch_size, rng):
            yield {name: array[index] for name, array in data.items()}
        return
    for start in range(0, length, minibatch_size):
        yield {name: array[start : start + minibatch_size] for name, array in data.items()}


def standardize(values: ArrayLike, *, eps: float = 1e-8) -> NDArray[np.float64]:
    """Centre and divide by the population standard deviation; same shape, float64.

    Values without spread are only centred, and fewer than two values become zeros: noise is never blown up.
    ``eps`` is relative to the largest magnitude, so that scaling the input does not change the output.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.size < 2:
        return np.zeros_like(x)
    centred = x - x.mean()
    deviation = math.sqrt(float(np.square(centred).mean()))
    # Below this the spread is rounding error of the mean, not information.
    if deviation <= eps * float(np.abs(x).max()):
        return centred
    return centred / deviation
