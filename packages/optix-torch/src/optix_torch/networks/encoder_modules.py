"""Modules that turn observations of every kind into features ``[B, F]``.

All of them take tensors of the parameters' type: images arrive as numbers from 0 to 255, choices as whole numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from optix_core.agents.inputs import IMAGE_FEATURES, NATURE_KERNELS, channels_first
from optix_torch.networks.blank import blank


class Flattened(nn.Module):
    """``[B, *shape]`` to ``[B, F]``; also ``[B]`` to ``[B, 1]``, which ``nn.Flatten`` refuses."""

    def forward(self, observations: Tensor) -> Tensor:
        """One row of features for each observation."""
        return observations.reshape(len(observations), -1)


class OneHot(nn.Module):
    """Choices as rows of zeros with a one for each choice that was made.

    Args:
        nvec: Numbers of choices, of any shape (``()`` for a single choice).
        low: The smallest value of each, of the same shape.
    """

    def __init__(self, nvec: NDArray[np.int64], low: NDArray[np.int64]) -> None:
        super().__init__()
        sizes = np.asarray(nvec, np.int64).reshape(-1)
        self.width = int(sizes.sum())
        starts = np.cumsum(sizes) - sizes - np.asarray(low, np.int64).reshape(-1)
        # no buffers: they follow from the space and need not be stored
        self._sizes, self._starts = sizes, starts
        self._shift = torch.from_numpy(starts)

    def forward(self, choices: Tensor) -> Tensor:
        """``[B, *shape]`` to ``[B, sum(nvec)]`` in the type of ``choices``, if that is a floating one."""
        rows = choices.reshape(len(choices), -1)
        if self._shift.device != rows.device:
            self._shift = self._shift.to(rows.device)
        dtype = rows.dtype if rows.is_floating_point() else torch.get_default_dtype()
        found = torch.zeros(len(rows), self.width, dtype=dtype, device=rows.device)
        return found.scatter_(1, rows.long() + self._shift, 1.0)


class NatureCNN(nn.Module):
    """The convolutional network of Mnih et al. 2015 (doi:10.1038/nature14236, Methods), with 512 features.

    Convolutions of 32 kernels of 8x8 at stride 4, 64 of 4x4 at stride 2 and 64 of 3x3 at stride 1, a layer of 512
    units, a rectifier after each. Weights are orthogonal with gain sqrt(2), as in PPO's usual implementations.

    Args:
        shape: Of one image, channels first or last; the axis of the channels is the shorter one of first and last.
        generator: Draws the weights.
        scale: What pixels are multiplied by.
    """

    width = IMAGE_FEATURES

    def __init__(self, shape: Sequence[int], *, generator: torch.Generator, scale: float = 1.0) -> None:
        super().__init__()
        self.channels_last, (channels, height, width) = channels_first(shape)
        self.scale = scale
        layers: list[nn.Module] = []
        n_in = channels
        for n_out, size, stride in NATURE_KERNELS:
            height, width = (height - size) // stride + 1, (width - size) // stride + 1
            layers += [
                _initialised(blank(nn.Conv2d, n_in, n_out, size, stride), generator),
                nn.ReLU(),
            ]
            n_in = n_out
        head = blank(nn.Linear, n_in * height * width, self.width)
        self.layers = nn.Sequential(*layers, nn.Flatten(), _initialised(head, generator), nn.ReLU())

    def forward(self, images: Tensor) -> Tensor:
        """``[B, C, H, W]`` or ``[B, H, W, C]`` to ``[B, 512]``."""
        if self.channels_last:
            images = images.permute(0, 3, 1, 2)
        return self.layers(images if self.scale == 1.0 else images * self.scale)


class PerKey(nn.Module):
    """One encoder for each part of a Dict or Tuple observation; their features one after another.

    Args:
        parts: Encoders by the name of the part, in the order of their features.
    """

    def __init__(self, parts: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.names = tuple(parts)
        self.parts = nn.ModuleList(parts.values())  # by place: a key may be a name that modules have already

    def forward(self, observations: Mapping[str, Any]) -> Tensor:
        """A dict of tensors (or of such dicts) to ``[B, F]``."""
        features = [part(observations[name]) for name, part in zip(self.names, self.parts, strict=True)]
        return features[0] if len(features) == 1 else torch.cat(features, dim=1)


class Encoded(nn.Module):
    """A network behind an encoder.

    Attributes:
        encoder: Observations to features ``[B, F]``.
        trunk: Features to outputs.
    """

    def __init__(self, encoder: nn.Module, trunk: nn.Module) -> None:
        super().__init__()
        self.encoder, self.trunk = encoder, trunk

    def forward(self, observations: Any) -> Tensor:
        """Outputs of the trunk."""
        return self.trunk(self.encoder(observations))


def _initialised(layer: nn.Conv2d | nn.Linear, generator: torch.Generator) -> nn.Module:
    """A blank layer with weights: orthogonal, biases 0."""
    nn.init.orthogonal_(layer.weight, math.sqrt(2.0), generator=generator)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
