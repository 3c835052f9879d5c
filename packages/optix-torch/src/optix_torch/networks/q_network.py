"""Networks that give a value to every action, and how they are built."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from optix_torch.networks.encoders import ObservationInput, network
from optix_torch.networks.mlp import mlp


class Dueling(nn.Module):
    """A value and advantages as action values: ``Q = V + A - mean A`` (Wang et al. 2016, arXiv:1511.06581, eq. 9).

    It has no parameters: the layer before it gives ``1 + A`` outputs, the value first. So the two streams share all
    hidden layers and have one linear layer each.
    """

    def forward(self, outputs: Tensor) -> Tensor:
        """``[B, 1 + A]`` to ``[B, A]``."""
        advantages = outputs[:, 1:]
        return outputs[:, :1] + advantages - advantages.mean(dim=1, keepdim=True)


def q_network(
    inputs: ObservationInput,
    n_actions: int,
    hidden: Sequence[int],
    activation: str,
    *,
    dueling: bool,
    generator: torch.Generator,
) -> nn.Module:
    """Observations to ``[B, A]``: a perceptron behind the encoder.

    Weights and biases start uniform up to ``1 / sqrt(inputs)``, as ``nn.Linear`` starts them: published learning rates
    belong to that. Orthogonal layers as PPO has them give larger features, so that equal steps change the values more.
    """
    widths = (inputs.width, *hidden, n_actions + int(dueling))
    trunk = mlp(widths, activation, output_gain=1.0, generator=generator)
    with torch.no_grad():
        for layer in trunk.modules():
            if isinstance(layer, nn.Linear):
                bound = 1.0 / math.sqrt(layer.in_features)
                layer.weight.uniform_(-bound, bound, generator=generator)
                layer.bias.uniform_(-bound, bound, generator=generator)
    if dueling:
        trunk.append(Dueling())
    return network(inputs, trunk)


def without_dueling(module: nn.Module) -> tuple[nn.Module, bool]:
    """The part of ``module`` before its :class:`Dueling` layer, and whether it ends in one."""
    hooked = module._forward_hooks or module._forward_pre_hooks
    if type(module) is nn.Sequential and len(module) and not hooked:
        last: Any = module[-1]
        if type(last) is Dueling:
            return module[:-1], True
        if type(last) is nn.Sequential:
            inner, found = without_dueling(last)
            if found:
                before: Any = module[:-1]
                return nn.Sequential(*before, inner), True
    return module, False
