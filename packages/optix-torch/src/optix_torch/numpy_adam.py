"""Adam in numpy, on the state of a PyTorch optimizer."""

from __future__ import annotations

import math

import numpy as np
import torch

from optix_torch.flat import FlatParameters


class NumpyAdam:
    """A plain ``torch.optim.Adam`` over one vector (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1).

    Its moments are read and written where the optimizer keeps them, so that either can make the next step.
    """

    def __init__(self, optimizer: torch.optim.Adam, flat: FlatParameters) -> None:
        group, state = optimizer.param_groups[0], optimizer.state[flat.vector]
        if not state:  # as Adam itself makes it at its first step
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["exp_avg"] = torch.zeros_like(flat.vector.detach())
            state["exp_avg_sq"] = torch.zeros_like(flat.vector.detach())
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
