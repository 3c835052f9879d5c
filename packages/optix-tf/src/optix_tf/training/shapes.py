"""Sizes that change rarely: compiled functions are made for shapes, so lengths are rounded up to few different ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def rounded_up(n: int) -> int:
    """The smallest number of at least ``n`` whose binary form has at most four digits that are not trailing zeros.

    At most one eighth more than ``n``; numbers up to 16 stay as they are.
    """
    step = 1 << max((n - 1).bit_length() - 4, 0)
    return -(-n // step) * step


def padded(array: NDArray[Any], n: int) -> NDArray[Any]:
    """``array`` with rows of zeros after its own, ``n`` in all; itself if it has so many."""
    missing = n - len(array)
    if not missing:
        return array
    return np.concatenate([array, np.zeros((missing, *array.shape[1:]), array.dtype)])
