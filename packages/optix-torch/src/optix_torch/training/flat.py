"""All trainable parameters of an agent as one vector, and their gradients as another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from optix_core.errors import ConfigError
from optix_torch.training.light_adam import LightAdam


class FlatParameters:
    """One contiguous vector that the given parameters (and their ``.grad``) become views of.

    Clipping, checking and stepping then cost one operation instead of one per tensor, and on a CPU numpy sees the same
    memory. The parameters stay the same objects, so modules and optimizers that hold them keep working.

    Args:
        parameters: In the order in which they lie in the vector; a parameter that repeats counts once.
        held: What an optimizer steps. If that is one vector of which the parameters are views already, in this order
            (they belong to another agent then), that vector is used.

    Attributes:
        vector: ``[P]``; its ``.grad`` is the gradient vector.
        grad: ``[P]``, where ``backward`` accumulates.

    Raises:
        ConfigError: They differ in type or device, or are neither float32 nor float64.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], held: Sequence[Tensor] = ()) -> None:
        self.parameters = list({id(p): p for p in parameters}.values())
        kinds = {(p.dtype, p.device) for p in self.parameters}
        if len(kinds) != 1 or next(iter(kinds))[0] not in {torch.float32, torch.float64}:
            raise ConfigError(
                "actor and critic need trainable parameters of one type, float32 or float64, on one device; "
                f"found {', '.join(sorted(f'{dtype} on {device}' for dtype, device in kinds)) or 'none'}"
            )
        dtype, device = next(iter(kinds))
        # the type of arrays whose memory can be used as it is; none on other devices
        self._readable_as = torch.empty(0, dtype=dtype).numpy().dtype if device.type == "cpu" else None
        if len(held) == 1 and _are_views(self.parameters, held[0]) and held[0].grad is not None:
            self.vector, self.grad = held[0], held[0].grad
            return
        with torch.no_grad():
            self.vector = nn.Parameter(torch.cat([p.reshape(-1) for p in self.parameters]))
            self.grad = torch.zeros_like(self.vector)
            self.vector.grad = self.grad
            start = 0
            for p in self.parameters:
                stop = start + p.numel()
                p.data = self.vector.data[start:stop].view(p.shape)
                p.grad = self.grad[start:stop].view(p.shape)
                start = stop

    def tensor(self, array: NDArray[Any]) -> Any:
        """``array`` as a tensor of the parameters' type on their device; structured ones as a dict by field."""
        if array.dtype.names is not None:
            return {name: self.tensor(array[name]) for name in array.dtype.names}
        if array.dtype == self._readable_as and array.flags.carray:
            return torch.from_numpy(array)
        # PyTorch warns of memory that it must not write to, although it won't
        writable = torch.from_numpy(np.require(array, requirements=["C", "W"]))
        return writable.to(self.vector.device, self.vector.dtype)

    def start_of(self, parameters: Sequence[nn.Parameter]) -> int | None:
        """Where ``parameters`` begin in the vector, if they lie there one after the other; else None."""
        ids = [id(p) for p in self.parameters]
        wanted = [id(p) for p in parameters]
        if not wanted or wanted[0] not in ids:
            return None
        first = ids.index(wanted[0])
        if ids[first : first + len(wanted)] != wanted:
            return None
        return sum(p.numel() for p in self.parameters[:first])

    def arrays(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Parameters and gradients as numpy arrays on the same memory; on a CPU only."""
        return self.vector.detach().numpy(), self.grad.numpy()

    def to_numpy(self) -> NDArray[Any]:
        """A copy of the parameters on the host."""
        return self.vector.detach().cpu().numpy().copy()

    def assign(self, values: NDArray[Any]) -> None:
        """Set all parameters."""
        with torch.no_grad():
            self.vector.copy_(torch.from_numpy(np.ascontiguousarray(values)))

    def is_finite(self) -> bool:
        """Whether every parameter is a finite number."""
        return bool(torch.isfinite(self.vector).all())

    def join(self, optimizer: torch.optim.Optimizer) -> bool:
        """Let a plain Adam step the vector at once instead of tensor by tensor; the mathematics is the same.

        Only an ``Adam`` that holds exactly these parameters in one group, has no state yet and none of the options
        that would make a difference (weight decay, amsgrad, maximize, differentiable, capturable, a tensor as
        learning rate) is changed.

        Returns:
            Whether it steps the vector now.
        """
        groups = optimizer.param_groups
        if [id(p) for group in groups for p in group["params"]] == [id(self.vector)]:
            return True
        if type(optimizer) not in {torch.optim.Adam, LightAdam} or len(groups) != 1 or optimizer.state:
            return False
        group = groups[0]
        off = ("weight_decay", "amsgrad", "maximize", "differentiable", "capturable")
        if any(group.get(name) for name in off) or not isinstance(group["lr"], float):
            return False
        if {id(p) for p in group["params"]} != {id(p) for p in self.parameters}:
            return False
        group["params"] = [self.vector]
        group["fused"], group["foreach"] = True, False
        return True


def _are_views(parameters: Sequence[nn.Parameter], vector: Tensor) -> bool:
    """Whether the parameters are consecutive pieces of ``vector`` and nothing of it is left over."""
    address = vector.data_ptr()
    for p in parameters:
        if p.data_ptr() != address:
            return False
        address += p.numel() * p.element_size()
    return address == vector.data_ptr() + vector.numel() * vector.element_size()
