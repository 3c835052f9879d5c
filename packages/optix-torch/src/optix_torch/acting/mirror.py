"""What a network gives for observations, computed in numpy where that is possible.

One small forward pass of PyTorch costs several times more than all of its arithmetic.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from optix_core.acting import MLP
from optix_core.acting.policy import Normalizes
from optix_core.errors import NumericalDivergence
from optix_torch.networks.mlp import standard_mlp
from optix_torch.training.flat import FlatParameters


class Mirror:
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
        self._module, self._flat = module, flat
        self.observation_normalizer = observation_normalizer
        plain = standard_mlp(module)
        self._mlp: MLP | None = None
        self._copy: NDArray[Any] | None = None
        if plain is not None:
            spec, parameters = plain
            start = flat.start_of(parameters)
            if start is not None:
                self._piece = slice(start, start + spec.layout.size)
                if flat.vector.device.type == "cpu":
                    self._mlp = MLP(spec, flat.arrays()[0][self._piece])
                else:
                    self._copy = flat.to_numpy()[self._piece]
                    self._mlp = MLP(spec, self._copy)
        self.is_numpy = self._mlp is not None

    def outputs(self, observations: NDArray[Any]) -> NDArray[Any]:
        """``[N, out]`` for raw observations ``[N, *obs]``, perhaps in a buffer that the next call overwrites.

        Raises:
            NumericalDivergence: An output is not finite; nothing must be sent to the environment then.
        """
        if self.observation_normalizer is not None:
            observations = self.observation_normalizer.normalize(observations)
        if self._mlp is not None:
            outputs = self._mlp.forward(observations)
        else:
            with torch.inference_mode():
                outputs = self._module(self._flat.tensor(observations)).cpu().numpy()
        # one dot product finds nearly all that is not finite; only then is it worth a closer look
        if not math.isfinite(np.vdot(outputs, outputs)) and not np.isfinite(outputs).all():
            row = int(np.argmin(np.isfinite(outputs).reshape(len(outputs), -1).all(axis=1)))
            raise NumericalDivergence(
                f"the network gave {outputs[row].tolist()} for observation {row} of {len(outputs)}; no action was "
                "taken. Its weights or the observation are not finite, or so large that they overflow: restore "
                "earlier weights, lower learning_rate, or normalise the observations.",
                code="E-POLICY-NONFINITE",
            )
        return outputs

    def refresh(self) -> None:
        """Bring the host's copy up to date; needed only where the weights live on another device."""
        if self._copy is not None:
            self._copy[:] = self._flat.vector.detach()[self._piece].cpu().numpy()
