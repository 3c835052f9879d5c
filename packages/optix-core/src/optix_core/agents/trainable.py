"""Named networks with the optimizer that steps them, as storage sees them: each framework has its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from optix_core.agents.weights import Arrays
from optix_core.state import State


class Trainable(Protocol):
    """What is trained together, stored and restored.

    Attributes:
        perturbable: Whether ``perturb_weights`` reaches these parameters; no for a temperature.
    """

    perturbable: bool

    def arrays(self) -> Arrays:
        """Copies of all weights and buffers, as ``module/name``."""
        ...

    def load_arrays(self, arrays: Mapping[str, NDArray[Any]], *, owner: str) -> None:
        """Take over what :meth:`arrays` gave, and bring up to date whatever was derived from it.

        Raises:
            IncompatibleCheckpoint: Names or shapes differ; nothing is changed then.
        """
        ...

    def state_dict(self) -> State:
        """``{"networks": arrays(), "optimizer": ...}``; the first key is what has a fixed form."""
        ...

    def load_state_dict(self, state: Mapping[str, Any], *, owner: str) -> None:
        """Continue from :meth:`state_dict`.

        Raises:
            IncompatibleCheckpoint: It belongs to other networks or another optimizer.
        """
        ...

    def learning_rate(self) -> float:
        """As the optimizer has it."""
        ...

    def set_learning_rate(self, value: float) -> None:
        """Into the optimizer, which keeps its moments."""
        ...

    def perturb(self, noise_scale: float, rng: np.random.Generator) -> None:
        """Multiply every trainable weight by ``1 + noise_scale * N(0, 1)``."""
        ...

    def input_width(self) -> int | None:
        """Numbers in one observation, as the first linear layer tells; None if none does."""
        ...
