"""The standard networks, how they are initialised, and how to tell that a module is one of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import nn

from optix_core.acting import MLPSpec, PolicySpec
from optix_core.agents import inputs
from optix_torch.networks.blank import blank
from optix_torch.networks.encoder_modules import Flattened

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "sigmoid": nn.Sigmoid,
}
"""What ``activation=`` may be; all of them have a mirror in ``optix_core.acting``."""

_FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor] | None] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "elu": nn.functional.elu,
    "sigmoid": torch.sigmoid,
    "linear": None,
}


def mlp(
    sizes: Sequence[int], activation: str, *, output_gain: float, generator: torch.Generator
) -> nn.Sequential:
    """A perceptron of widths ``sizes``, float32, orthogonally initialised (Saxe et al. 2014, arXiv:1312.6120).

    Hidden layers get the gain sqrt(2), the output layer ``output_gain``, biases 0; the usual choice for PPO
    (Andrychowicz et al. 2021, arXiv:2006.05990, section 3.2). Draws come from ``generator`` only.
    """
    layers: list[nn.Module] = []
    for i, (n_in, n_out) in enumerate(pairwise(sizes)):
        last = i == len(sizes) - 2
        linear = blank(nn.Linear, n_in, n_out)
        nn.init.orthogonal_(linear.weight, output_gain if last else math.sqrt(2.0), generator=generator)
        nn.init.zeros_(linear.bias)
        layers += [linear] if last else [linear, ACTIVATIONS[activation]()]
    return nn.Sequential(*layers)


class GaussianActor(nn.Module):
    """A network for the means, and logarithms of standard deviations that are the same for all observations.

    Args:
        mean: ``[B, *obs]`` to ``[B, A]``.
        action_dim: A.
        initial_log_std: What every logarithm starts at.
    """

    def __init__(self, mean: nn.Module, action_dim: int, initial_log_std: float = 0.0) -> None:
        super().__init__()
        self.mean = mean
        self.log_std = nn.Parameter(torch.full((action_dim,), initial_log_std))

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Means followed by logarithms of standard deviations, ``[B, 2 A]``."""
        mean = self.mean(observations)
        return torch.cat([mean, self.log_std.expand_as(mean)], dim=-1)


def standard_mlp(module: nn.Module) -> tuple[MLPSpec, list[nn.Parameter]] | None:
    """The shape of ``module`` and its parameters in the order of ``MLPSpec.layout``; None if it is not plain.

    Plain means: an ``nn.Sequential`` (perhaps of such) of ``nn.Linear`` with bias, each followed by at most one
    activation of :data:`ACTIVATIONS`, all trainable, without hooks; a layer that flattens observations may come first.
    """
    sizes: list[int] = []
    activations: list[str] = []
    parameters: list[nn.Parameter] = []
    names = {kind: name for name, kind in ACTIVATIONS.items()}
    for layer in _flattened(module):
        if not sizes and _flattens(layer):  # the mirror and the closed form flatten whatever they get
            continue
        if layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks:
            return None
        if type(layer) is nn.Linear:
            own = list(layer.parameters())
            if (
                len(own) != 2
                or not all(p.requires_grad for p in own)
                or (sizes and sizes[-1] != layer.in_features)
            ):
                return None
            sizes += [layer.out_features] if sizes else [layer.in_features, layer.out_features]
            activations.append("linear")
            parameters += own
        elif type(layer) in names and activations and activations[-1] == "linear":
            if isinstance(layer, nn.ELU) and layer.alpha != 1.0:
                return None
            activations[-1] = names[type(layer)]
        elif type(layer) is not nn.Sequential:
            return None
    if not sizes:
        return None
    return MLPSpec(tuple(sizes), tuple(activations)), parameters


def as_function(
    spec: MLPSpec | PolicySpec, parameters: Sequence[nn.Parameter]
) -> Callable[[torch.Tensor], torch.Tensor]:
    """What the module that :func:`standard_mlp` recognised computes, without the cost of calling a module per layer.

    Observations of any shape are read as one row of features, as numpy's mirror does. Log standard
    deviations that are parameters follow the means, as in :class:`GaussianActor`.
    """
    network = spec if isinstance(spec, MLPSpec) else spec.network
    log_std = parameters[-1] if isinstance(spec, PolicySpec) and spec.has_log_std else None
    layers = [
        (parameters[2 * i], parameters[2 * i + 1], _FUNCTIONS[name])
        for i, name in enumerate(network.activations)
    ]

    def forward(observations: torch.Tensor) -> torch.Tensor:
        x = observations if observations.ndim == 2 else observations.reshape(len(observations), -1)
        for weight, bias, activation in layers:
            x = nn.functional.linear(x, weight, bias)
            if activation is not None:
                x = activation(x)
        return x if log_std is None else torch.cat([x, log_std.expand_as(x)], dim=-1)

    return forward


def _flattened(module: nn.Module) -> list[nn.Module]:
    """``module`` and, if it is an ``nn.Sequential``, everything in it, in the order of execution."""
    found = [module]
    if type(module) is nn.Sequential:
        for child in module:
            found += _flattened(child)
    return found


def _flattens(layer: nn.Module) -> bool:
    """Whether it only makes rows of what it gets."""
    whole = isinstance(layer, nn.Flatten) and (layer.start_dim, layer.end_dim) == (1, -1)
    plain = not (layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks)
    return plain and (whole or type(layer) is Flattened)


def require_architecture(hidden_sizes: object, activation: str, *, owner: str) -> tuple[int, ...]:
    """The hidden widths as a tuple, provided that networks can be made with them.

    Raises:
        ConfigError: They are not positive whole numbers, or the activation is not known.
    """
    return inputs.require_architecture(hidden_sizes, activation, known=tuple(ACTIVATIONS), owner=owner)
