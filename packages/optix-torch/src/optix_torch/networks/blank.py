"""Layers of PyTorch with memory but without values: for code that initialises them from a generator of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn

Layer = TypeVar("Layer", bound=nn.Module)


def blank(kind: Callable[..., Layer], *sizes: int, **options: Any) -> Layer:
    """``kind(*sizes, **options)`` in float32 on the CPU, its parameters not initialised.

    A constructor would draw from PyTorch's global generator; on the device "meta" there is nothing to draw for.
    ``Module.to_empty`` would give it memory too, but imports sympy for it (0.3 s and 35 MiB).
    """
    layer = kind(*sizes, device="meta", dtype=torch.float32, **options)
    for owner in layer.modules():
        for name, parameter in list(owner.named_parameters(recurse=False)):
            setattr(owner, name, nn.Parameter(torch.empty(parameter.shape, dtype=torch.float32)))
    return layer
