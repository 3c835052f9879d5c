"""From what is stored for an edge (theta) to its effective weight, and back.

Dale's law gives a neuron's outgoing edges a sign. Three forms of an edge follow from it:

- ``FREE``: ``w = theta``. All edges of ``"any"`` neurons, and in mode ``"clamp"`` all edges; there ``enforce_dale``
  moves theta into its range after a gradient step.
- ``SOFTPLUS``: ``w = sign * log(1 + exp(theta))``. Mode ``"softplus"``.
- ``RECTIFIED``: ``w = sign * max(theta, 0)`` with slope 1 at 0. Softplus cannot give exactly zero, so an edge that is
  made with a weight of (nearly) zero in mode ``"softplus"`` has this form; ``enforce_dale`` keeps theta from going
  below zero, where it would not learn any more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

FREE, SOFTPLUS, RECTIFIED = 0, 1, 2
EXCITATORY, INHIBITORY, ANY = 0, 1, 2
SIGNS = np.array([1.0, -1.0, 1.0])
"""By the code of a cell type; ``"any"`` has no say."""
NEGLIGIBLE = 1e-6
"""Magnitudes below this are zero to mode ``"softplus"``."""


def effective(theta: Array, form: Array, sign: Array) -> Array:
    """Effective weights, in theta's dtype."""
    if not form.any():
        return theta
    w = np.where(form == SOFTPLUS, np.logaddexp(theta, 0.0), np.maximum(theta, 0.0)) * sign
    return np.where(form == FREE, theta, w).astype(theta.dtype, copy=False)


def slope(theta: Array, form: Array, sign: Array) -> Array:
    """How :func:`effective` changes with theta; 1 at the corner of a ``RECTIFIED`` edge."""
    soft = 0.5 * (1.0 + np.tanh(0.5 * theta))
    inside = np.where(form == SOFTPLUS, soft, theta >= 0) * sign
    return np.where(form == FREE, 1.0, inside).astype(theta.dtype, copy=False)


def effective_torch(theta: Any, form: Any, sign: Any) -> Any:
    """The same on tensors, differentiable; ``form`` and ``sign`` are tensors."""
    import torch

    soft = torch.nn.functional.softplus(theta, threshold=1e4)
    rectified = torch.where(theta >= 0, theta, torch.zeros_like(theta))
    return torch.where(form == FREE, theta, sign * torch.where(form == SOFTPLUS, soft, rectified))


def stored(weight: float, cell: int, mode: str) -> tuple[float, int]:
    """Theta and form of an edge with this effective weight from a neuron of this cell type.

    In mode ``"softplus"`` the sign is the neuron's, whatever the weight's.
    """
    if mode == "clamp" or cell == ANY:
        return weight, FREE
    magnitude = abs(weight)
    if magnitude < NEGLIGIBLE:
        return 0.0, RECTIFIED
    return float(magnitude + np.log(-np.expm1(-magnitude))), SOFTPLUS  # log(exp(w) - 1) without overflow


def allowed(weight: float, cell: int) -> bool:
    """Whether Dale's law lets a neuron of this cell type have such an outgoing weight."""
    return cell == ANY or weight * float(SIGNS[cell]) >= 0.0
