"""What a network gives for observations while acting, checked before anything is sent to an environment."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.acting.policy import Normalizes
from optix_core.errors import NumericalDivergence


class Mirror:
    """Evaluates one network on the host.

    Args:
        forward: Normalised observations ``[N, *obs]`` to ``[N, out]``, perhaps in a buffer that the next call
            overwrites: ``MLP(spec, parameters).forward`` for perceptrons, a compiled function of the framework for
            anything else.
        observation_normalizer: Applied to raw observations first.

    Attributes:
        observation_normalizer: As given; may be set.
    """

    def __init__(
        self,
        forward: Callable[[NDArray[Any]], NDArray[Any]],
        observation_normalizer: Normalizes | None = None,
    ) -> None:
        self._forward = forward
        self.observation_normalizer = observation_normalizer

    def outputs(self, observations: NDArray[Any]) -> NDArray[Any]:
        """``[N, out]`` for raw observations ``[N, *obs]``, perhaps in a buffer that the next call overwrites.

        Raises:
            NumericalDivergence: An output is not finite; nothing must be sent to the environment then.
        """
        if self.observation_normalizer is not None:
            observations = self.observation_normalizer.normalize(observations)
        outputs = self._forward(observations)
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
