"""One guarded gradient step after another: clipped, skipped where the gradient is not finite, and counted."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from optix_core.agents.steps import StepLog
from optix_torch.training.adam import FusedAdam
from optix_torch.training.trainable import Trainable


class Descent(StepLog):
    """Steps one optimizer and remembers, until it is asked, what happened.

    Args:
        training: Whose gradient is stepped.
    """

    def __init__(self, training: Trainable) -> None:
        super().__init__()
        self._training, self._flat = training, training.flat
        self._gradient = self._flat.grad.numpy() if self._flat.vector.device.type == "cpu" else None
        self._adam: FusedAdam | None = None

    def begin(self) -> None:
        """Before one or more steps: take over the optimizer's settings and moments as they are now."""
        optimizer = self._training.optimizer
        if self._training.joined and isinstance(optimizer, torch.optim.Adam):
            self._adam = FusedAdam(optimizer, self._flat)

    def step(self, max_norm: float, **measured: float | Tensor) -> bool:
        """Clip the gradient's norm to ``max_norm`` and make one step, unless the gradient is not finite.

        Args:
            max_norm: Of the whole gradient.
            measured: Reported as means over the steps that were made. Tensors are read only then.

        Returns:
            Whether the step was made.
        """
        if self._gradient is not None:
            norm = math.sqrt(np.dot(self._gradient, self._gradient))
        else:
            norm = float(torch.linalg.vector_norm(self._flat.grad))
        if not self.allows(norm):
            return False
        if norm > max_norm:
            self._flat.grad.mul_(max_norm / (norm + 1e-6))
        if self._adam is not None:
            self._adam.step()
        else:
            self._training.optimizer.step()
        measured["grad_norm"] = norm
        self.measure(measured)
        return True

    def _mean(self, values: list[Any]) -> float:
        """The mean of numbers, or of numbers on a device, which are fetched at once."""
        if isinstance(values[0], Tensor):
            return float(torch.stack(values).mean())
        return super()._mean(values)
