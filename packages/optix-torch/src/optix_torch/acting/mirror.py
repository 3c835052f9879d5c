"""What a network gives for observations, computed in numpy where that is possible.

One small forward pass of PyTorch costs several times more than all of its arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from optix_core.acting import MLP
from optix_core.acting.policy import Normalizes
from optix_core.agents import mirror as host
from optix_torch.networks.mlp import standard_mlp
from optix_torch.training.flat import FlatParameters


class Mirror(host.Mirror):
    """Evaluates one network on the host.

    Plain perceptrons are evaluated by numpy: on a CPU on the memory that training changes, otherwise on a copy that
    :meth:`refresh` brings up to date. Any other module is evaluated by PyTorch.

    Args:
        module: ``[B, *obs]`` to ``[B, out]``.
        flat: The vector that holds the module's trainable parameters, perhaps with others.
        observation_normalizer: Applied to raw observations first.

    Attributes:
        is_numpy: Whether numpy does it.
        observation_normalizer: As given; may be set.
    """

    def __init__(
        self, module: nn.Module, flat: FlatParameters, observation_normalizer: Normalizes | None = None
    ) -> None:
        self._flat = flat
        plain = standard_mlp(module)
        mlp: MLP | None = None
        self._copy: NDArray[Any] | None = None
        if plain is not None:
            spec, parameters = plain
            start = flat.start_of(parameters)
            if start is not None:
                self._piece = slice(start, start + spec.layout.size)
                if flat.vector.device.type == "cpu":
                    mlp = MLP(spec, flat.arrays()[0][self._piece])
                else:
                    self._copy = flat.to_numpy()[self._piece]
                    mlp = MLP(spec, self._copy)
        self.is_numpy = mlp is not None
        super().__init__(torch_forward(module, flat) if mlp is None else mlp.forward, observation_normalizer)

    def refresh(self) -> None:
        """Bring the host's copy up to date; needed only where the weights live on another device."""
        if self._copy is not None:
            self._copy[:] = self._flat.vector.detach()[self._piece].cpu().numpy()


def torch_forward(module: nn.Module, flat: FlatParameters) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """What ``module`` gives for observations ``[N, *obs]``, from arrays to arrays."""

    def forward(observations: NDArray[Any]) -> NDArray[Any]:
        with torch.inference_mode():
            return module(flat.tensor(observations)).cpu().numpy()

    return forward
