"""What learning changes: a few arrays that PyTorch parameters, if there are any, share memory with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import nn

Array = NDArray[Any]


class ParameterArray:
    """One array of trainable numbers, by slot.

    Args:
        name: ``"theta"`` (edges), ``"bias"`` (neurons) or the name of a neuron type.
        values: ``[slots]`` or ``[rows, K]``.

    Attributes:
        name: As given.
        values: The numbers; the same memory as :meth:`parameter`.
    """

    def __init__(self, name: str, values: Array) -> None:
        self.name = name
        self.values = values
        self._parameter: nn.Parameter | None = None

    def parameter(self) -> nn.Parameter:
        """The array as a PyTorch parameter on the same memory, always the same object."""
        if self._parameter is None:
            import torch

            self._parameter = torch.nn.Parameter(torch.from_numpy(self.values))
        return self._parameter

    @property
    def version(self) -> int:
        """How often PyTorch has written to it."""
        return 0 if self._parameter is None else self._parameter._version

    @property
    def grad(self) -> Array | None:
        """The gradient as an array on its own memory, if there is one."""
        found = None if self._parameter is None else self._parameter.grad
        return None if found is None else found.detach().numpy()

    def replace(self, values: Array) -> None:
        """Let it have other values, perhaps more of them; a parameter and its gradient follow, padded with zeros."""
        self.values = np.ascontiguousarray(values)
        if self._parameter is not None:
            import torch

            old = self._parameter.grad
            self._parameter.data = torch.from_numpy(self.values)
            self._parameter.grad = None
            if old is not None:
                grad = torch.zeros_like(self._parameter)
                n = min(len(old), len(grad))
                grad[:n] = old[:n]
                self._parameter.grad = grad

    def reserve(self, n: int) -> None:
        """Make room for at least n slots, the new ones zero."""
        if n > len(self.values):
            more = np.zeros((n - len(self.values), *self.values.shape[1:]), self.values.dtype)
            self.replace(np.concatenate([self.values, more]))

    def rebind(self) -> None:
        """Follow a parameter whose ``data`` was pointed at other memory on the CPU."""
        if self._parameter is not None:
            self.values = self._parameter.detach().numpy()
