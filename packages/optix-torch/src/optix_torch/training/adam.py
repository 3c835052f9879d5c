"""Adam over one vector, on the state of a PyTorch optimizer, without the cost of going through the optimizer.

Both classes read and write the moments where the optimizer keeps them, so that either, or the optimizer itself, can
make the next step (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1). Settings are read at construction.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from optix_torch.training.flat import FlatParameters

_fused_adam: Any = torch._fused_adam_  # pyright: ignore[reportPrivateImportUsage]  # what torch.optim.adam ends in


def _moments(optimizer: torch.optim.Adam, flat: FlatParameters) -> dict[str, Any]:
    """The optimizer's state of the vector; made as Adam itself makes it at its first step if there is none."""
    state = optimizer.state[flat.vector]
    if not state:
        state["step"] = torch.zeros((), dtype=torch.float32, device=flat.vector.device)
        state["exp_avg"] = torch.zeros_like(flat.vector.detach())
        state["exp_avg_sq"] = torch.zeros_like(flat.vector.detach())
    return state


class FusedAdam:
    """PyTorch's fused kernel, called directly: the bits of ``optimizer.step()`` at a third of its overhead."""

    def __init__(self, optimizer: torch.optim.Adam, flat: FlatParameters) -> None:
        group, state = optimizer.param_groups[0], _moments(optimizer, flat)
        self._lists = [flat.vector.detach()], [flat.grad], [state["exp_avg"]], [state["exp_avg_sq"]], []
        self._steps = [state["step"]]
        # a tensor of one number: numpy counts it up in a hundredth of the time
        self._count = state["step"].numpy() if state["step"].device.type == "cpu" else state["step"]
        self._settings = {
            "lr": float(group["lr"]),
            "beta1": float(group["betas"][0]),
            "beta2": float(group["betas"][1]),
            "eps": group["eps"],
            "weight_decay": 0.0,
            "amsgrad": False,
            "maximize": False,
        }

    def step(self) -> None:
        """One step on the gradients."""
        self._count += 1.0
        with torch.no_grad():
            _fused_adam(*self._lists, self._steps, **self._settings)


class NumpyAdam:
    """The same in numpy, for gradients that numpy computed; on a CPU."""

    def __init__(self, optimizer: torch.optim.Adam, flat: FlatParameters) -> None:
        group, state = optimizer.param_groups[0], _moments(optimizer, flat)
        self._lr, (self._beta1, self._beta2), self._eps = float(group["lr"]), group["betas"], group["eps"]
        self._count = state["step"]
        self._m, self._v = state["exp_avg"].numpy(), state["exp_avg_sq"].numpy()
        self._parameters, self._gradients = flat.arrays()
        self._work = np.empty_like(self._parameters)

    def step(self, scale: float) -> None:
        """One step on the gradients times ``scale``."""
        g, m, v, work = self._gradients, self._m, self._v, self._work
        self._count += 1.0
        t = float(self._count)
        np.multiply(g, scale, out=g)
        np.subtract(g, m, out=work)
        np.multiply(work, 1.0 - self._beta1, out=work)
        np.add(m, work, out=m)
        np.multiply(g, g, out=work)
        np.multiply(work, 1.0 - self._beta2, out=work)
        np.multiply(v, self._beta2, out=v)
        np.add(v, work, out=v)
        np.sqrt(v, out=work)
        np.multiply(work, 1.0 / math.sqrt(1.0 - self._beta2**t), out=work)
        np.add(work, self._eps, out=work)
        np.divide(m, work, out=work)
        np.multiply(work, self._lr / (1.0 - self._beta1**t), out=work)
        np.subtract(self._parameters, work, out=self._parameters)
