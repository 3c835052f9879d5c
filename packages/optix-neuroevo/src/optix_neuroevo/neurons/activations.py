"""Activations of point neurons: in numpy in place, in PyTorch, and their slopes as functions of what they gave."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.acting.mlp import ACTIVATIONS as IN_PLACE

Array = NDArray[Any]

ACTIVATIONS: tuple[str, ...] = ("linear", "relu", "tanh", "sigmoid", "elu")
"""Names, in the order of their codes in a graph's arrays. ``elu`` has alpha = 1."""

CODES: Mapping[str, int] = {name: code for code, name in enumerate(ACTIVATIONS)}


def in_place(name: str) -> Callable[[Array], None] | None:
    """A function that applies the activation to an array in place; None for ``linear``."""
    return IN_PLACE[name]


def slope(name: str, y: Array) -> Array:
    """The derivative where the activation gave ``y``; a new array. At the kink of ``relu`` it is 0, as in PyTorch."""
    if name == "tanh":
        return 1.0 - y * y
    if name == "sigmoid":
        return y * (1.0 - y)
    if name == "relu":
        return (y > 0).astype(y.dtype)
    if name == "elu":
        return np.where(y > 0, np.asarray(1.0, y.dtype), y + 1.0).astype(y.dtype, copy=False)
    return np.ones_like(y)


def torch_function(name: str) -> Callable[[Any], Any] | None:
    """The activation on tensors, differentiable; None for ``linear``."""
    if name == "linear":
        return None
    import torch

    found: Mapping[str, Callable[[Any], Any]] = {
        "tanh": torch.tanh,
        "relu": torch.relu,
        "sigmoid": torch.sigmoid,
        "elu": torch.nn.functional.elu,
    }
    return found[name]


def code_of(name: str) -> int:
    """The code of an activation.

    Raises:
        ValueError: There is no such activation.
    """
    code = CODES.get(name)
    if code is None:
        raise ValueError(f"unknown activation {name!r}; there are {', '.join(ACTIVATIONS)}")
    return code
