"""Observations as tensors: whole ones and ones with parts, kept small until they are used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from optix_torch.training.flat import FlatParameters

_AT_ONCE = 1 << 24
"""Numbers of input that one forward pass without gradients takes; 64 MiB in single precision."""


def staged(flat: FlatParameters, array: NDArray[Any]) -> Any:
    """``array`` on the parameters' device; single bytes stay so until :func:`cast`. Records become dicts by field."""
    if array.dtype.names is not None:
        return {name: staged(flat, array[name]) for name in array.dtype.names}
    if array.dtype.itemsize == 1:
        return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(flat.vector.device)
    return flat.tensor(array)


def take(tree: Any, index: Tensor) -> Any:
    """Rows of every tensor, in the order of ``index``."""
    if isinstance(tree, Tensor):
        return tree[index]
    return {name: take(part, index) for name, part in tree.items()}


def split(tree: Any, sizes: Sequence[int]) -> list[Any]:
    """Consecutive pieces of so many rows, as views."""
    if isinstance(tree, Tensor):
        return list(tree.split(list(sizes)))
    parts = {name: split(part, sizes) for name, part in tree.items()}
    return [{name: part[i] for name, part in parts.items()} for i in range(len(sizes))]


def cast(tree: Any, dtype: torch.dtype) -> Any:
    """Every tensor in ``dtype``; those that have it as they are."""
    if isinstance(tree, Tensor):
        return tree.to(dtype)
    return {name: cast(part, dtype) for name, part in tree.items()}


def evaluated(function: Callable[[Any], Tensor], flat: FlatParameters, array: NDArray[Any]) -> Tensor:
    """``function`` of all rows of ``array`` without gradients, in several passes if rows are large."""
    rows = max(1, len(array))
    numbers = array.nbytes if array.dtype.names is not None else array.size
    at_once = max(256, _AT_ONCE * rows // max(numbers, 1))
    with torch.no_grad():
        pieces = [function(flat.tensor(array[start : start + at_once])) for start in range(0, rows, at_once)]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def integers(array: NDArray[Any], device: torch.device) -> Tensor:
    """``array`` as int64."""
    return torch.from_numpy(np.array(array, np.int64)).to(device)
