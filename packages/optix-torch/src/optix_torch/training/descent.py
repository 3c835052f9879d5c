"""One guarded gradient step after another: clipped, skipped where the gradient is not finite, and counted."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from optix_torch.policy_gradient.engine import MAX_SKIPPED_IN_A_ROW
from optix_torch.training.adam import FusedAdam
from optix_torch.training.trainable import Trainable


class Descent:
    """Steps one optimizer and remembers, until it is asked, what happened.

    Args:
        training: Whose gradient is stepped.

    Attributes:
        n_updates: Steps made since the last :meth:`report`.
        n_skipped: Steps left out because the gradient was not finite, since then.
        diverged: Three in a row were; no further step is made until the next report.
    """

    def __init__(self, training: Trainable) -> None:
        self._training, self._flat = training, training.flat
        self._gradient = self._flat.grad.numpy() if self._flat.vector.device.type == "cpu" else None
        self._in_a_row = 0
        self._adam: FusedAdam | None = None
        self._clear()

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
        if not math.isfinite(norm):
            self.n_skipped += 1
            self._in_a_row += 1
            self.diverged = self.diverged or self._in_a_row >= MAX_SKIPPED_IN_A_ROW
            return False
        self._in_a_row = 0
        self.n_updates += 1
        if norm > max_norm:
            self._flat.grad.mul_(max_norm / (norm + 1e-6))
        if self._adam is not None:
            self._adam.step()
        else:
            self._training.optimizer.step()
        measured["grad_norm"] = norm
        for name, value in measured.items():
            self._measured[name].append(value)
        return True

    def report(self) -> dict[str, float]:
        """Means since the last report, NaN after a divergence; then begin anew."""
        found: dict[str, float] = {
            name: math.nan if self.diverged else _mean(values) for name, values in self._measured.items()
        }
        if self.diverged:
            found["loss"] = math.nan
        found |= {"n_updates": self.n_updates, "n_skipped": self.n_skipped}
        self._clear()
        return found

    def _clear(self) -> None:
        self.n_updates = self.n_skipped = 0
        self.diverged = False
        self._measured: defaultdict[str, list[float | Tensor]] = defaultdict(list)


def _mean(values: list[Any]) -> float:
    """The mean of numbers, or of numbers on a device, which are fetched at once."""
    return float(torch.stack(values).mean()) if isinstance(values[0], Tensor) else float(np.mean(values))
