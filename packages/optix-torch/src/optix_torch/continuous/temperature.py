"""The temperature of soft actor-critic: one number, its logarithm, and the optimizer that adapts it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from optix_core.errors import ConfigError
from optix_torch.training.light_adam import LightAdam
from optix_torch.training.trainable import Trainable


class Temperature:
    """The logarithm of alpha, as the optimizer holds it.

    Args:
        optimizer: Over exactly one number that requires a gradient, anywhere in its groups; used as it is. None: Adam.
        learning_rate: Of that Adam.

    Attributes:
        training: The number and its optimizer.

    Raises:
        ConfigError: The optimizer holds anything else.
    """

    def __init__(self, optimizer: torch.optim.Optimizer | None, learning_rate: float) -> None:
        if optimizer is None:
            optimizer = LightAdam([nn.Parameter(torch.zeros(1))], lr=learning_rate)
        held: list[Tensor] = [p for group in optimizer.param_groups for p in group["params"]]
        if len(held) != 1 or held[0].numel() != 1 or not held[0].requires_grad:
            raise ConfigError(
                f"alpha_optimizer holds {len(held)} tensors of {sum(p.numel() for p in held)} numbers; it must hold "
                "one that requires a gradient, log(alpha): torch.optim.Adam([torch.zeros(1, requires_grad=True)])"
            )
        module = nn.Module()
        if isinstance(held[0], nn.Parameter):
            module.register_parameter("log_alpha", held[0])
        else:
            module.register_buffer("log_alpha", held[0])
        self.training = Trainable(
            {"temperature": module},
            held,  # type: ignore[arg-type]  # a tensor that requires a gradient serves as well
            optimizer,
            perturbable=False,
        )

    @property
    def log_alpha(self) -> float:
        """The logarithm of the temperature."""
        return float(self.training.flat.vector.detach())

    def set(self, log_alpha: float) -> None:
        """Start from there."""
        if log_alpha != self.log_alpha:
            with torch.no_grad():
                self.training.flat.vector.fill_(log_alpha)
