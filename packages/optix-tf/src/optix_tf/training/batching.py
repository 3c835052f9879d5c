"""Observations as what compiled functions take: whole ones and ones with parts, kept small until they are used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from optix_tf.training.shapes import padded

_AT_ONCE = 1 << 24
"""Numbers of input that one forward pass takes; 64 MiB in single precision."""


def staged(array: NDArray[Any], dtype: str) -> Any:
    """``array`` in ``dtype``; single bytes stay so until :func:`cast`. Records become dicts by field."""
    if array.dtype.names is not None:
        return {name: staged(array[name], dtype) for name in array.dtype.names}
    if array.dtype.itemsize == 1 and array.dtype != np.bool_:
        return np.ascontiguousarray(array)
    return np.ascontiguousarray(array, dtype=dtype)


def padded_tree(tree: Any, n: int) -> Any:
    """Every array with ``n`` rows, see :func:`~optix_tf.training.shapes.padded`."""
    if isinstance(tree, dict):
        return {name: padded_tree(part, n) for name, part in tree.items()}
    return padded(tree, n)


def take(tree: Any, index: Any) -> Any:
    """Rows of every tensor, in the order of ``index``."""
    if isinstance(tree, dict):
        return {name: take(part, index) for name, part in tree.items()}
    return tf.gather(tree, index)


def cast(tree: Any, dtype: str) -> Any:
    """Every tensor in ``dtype``."""
    if isinstance(tree, dict):
        return {name: cast(part, dtype) for name, part in tree.items()}
    return tf.cast(tree, dtype)


def in_pieces(function: Callable[[NDArray[Any]], NDArray[Any]], array: NDArray[Any]) -> NDArray[Any]:
    """``function`` of all rows of ``array``, in several calls if rows are large."""
    rows = max(1, len(array))
    numbers = array.nbytes if array.dtype.names is not None else array.size
    at_once = max(256, _AT_ONCE * rows // max(numbers, 1))
    pieces = [function(array[start : start + at_once]) for start in range(0, rows, at_once)]
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
