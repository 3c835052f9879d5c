"""What a network gives while acting: through numpy for perceptrons, through one compiled function for anything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.acting import MLP
from optix_jax.networks.network import Network, Params
from optix_jax.training.compiled import Compiled, tree_of


class HostNetwork:
    """``[N, *obs]`` to ``[N, out]`` with the newest weights.

    Args:
        network: What it computes.
        current: Gives the parameters as they are now.

    Attributes:
        is_numpy: Whether numpy does it, on a copy of the weights that is brought up to date when it is next used.
        compiled: The function that does it otherwise.
    """

    def __init__(self, network: Network, current: Callable[[], Params]) -> None:
        self._current, self._stale = current, True
        self.is_numpy = network.spec is not None
        if network.spec is not None:
            self._buffer = network.spec.layout.zeros()
            self._mlp = MLP(network.spec, self._buffer)
        self.compiled = Compiled(network.apply)

    def refresh(self) -> None:
        """The weights are others now."""
        self._stale = True

    def __call__(self, observations: NDArray[Any]) -> NDArray[Any]:
        """For normalised observations; perhaps in a buffer that the next call overwrites."""
        if not self.is_numpy:
            return np.asarray(self.compiled(self._current(), tree_of(observations)))
        if self._stale:
            np.copyto(self._buffer, np.asarray(self._current()))
            self._stale = False
        return self._mlp.forward(observations)
