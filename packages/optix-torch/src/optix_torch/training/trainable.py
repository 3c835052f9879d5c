"""Modules, their parameters as one vector, and the optimizer that steps them: what is trained, stored and restored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from optix_core.agents.weights import Arrays, require_same
from optix_core.errors import ConfigError
from optix_core.state import State
from optix_torch.training import storage
from optix_torch.training.flat import FlatParameters


class Trainable:
    """Named modules and one optimizer over their trainable parameters.

    Args:
        modules: By name; they may share layers.
        parameters: Their trainable parameters, in the order in which they shall lie in the vector.
        optimizer: Holds all of them.
        changed: Called whenever weights were set from outside; refreshes whatever was derived from them.
        perturbable: Whether ``perturb_weights`` reaches these parameters; no for a temperature.

    Attributes:
        modules: By name.
        flat: The parameters as one vector.
        joined: Whether the optimizer steps that vector as a whole.

    Raises:
        ConfigError: The optimizer lacks some of the parameters.
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        parameters: Sequence[nn.Parameter],
        optimizer: torch.optim.Optimizer,
        changed: Callable[[], None] = lambda: None,
        *,
        perturbable: bool = True,
    ) -> None:
        held: list[Tensor] = [p for group in optimizer.param_groups for p in group["params"]]
        self.flat = FlatParameters(parameters, held)
        found = {id(p) for p in held}
        missing = (
            0 if id(self.flat.vector) in found else sum(id(p) not in found for p in self.flat.parameters)
        )
        if missing:
            names = ", ".join(f"*{name}.parameters()" for name in modules)
            raise ConfigError(
                f"the optimizer lacks {missing} of the {len(self.flat.parameters)} trainable parameters of "
                f"{' and '.join(modules)}; give it all of them: torch.optim.Adam([{names}])"
            )
        self.joined = self.flat.join(optimizer)
        self.optimizer = optimizer
        self.perturbable = perturbable
        self.modules, self._changed = dict(modules), changed

    def learning_rate(self) -> float:
        """As the optimizer has it."""
        return float(self.optimizer.param_groups[0]["lr"])

    def set_learning_rate(self, value: float) -> None:
        """Into every parameter group; moments are kept."""
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(value)
            else:
                group["lr"] = value

    def arrays(self) -> Arrays:
        """Copies of all weights and buffers, as ``module/name``."""
        return {
            f"{prefix}/{name}": array
            for prefix, module in self.modules.items()
            for name, array in storage.module_arrays(module).items()
        }

    def load_arrays(self, arrays: Mapping[str, NDArray[Any]], *, owner: str) -> None:
        """Take over what :meth:`arrays` gave.

        Raises:
            IncompatibleCheckpoint: Names or shapes differ; nothing is changed then.
        """
        require_same(self.arrays(), arrays, owner=owner)
        for prefix, module in self.modules.items():
            start = f"{prefix}/"
            storage.load_module(
                module, {name.removeprefix(start): a for name, a in arrays.items() if name.startswith(start)}
            )
        self._changed()

    def state_dict(self) -> State:
        """Weights, buffers and optimizer."""
        return {"networks": self.arrays(), "optimizer": storage.optimizer_state(self.optimizer)}

    def load_state_dict(self, state: Mapping[str, Any], *, owner: str) -> None:
        """Continue from :meth:`state_dict`.

        Raises:
            IncompatibleCheckpoint: It belongs to other networks or another optimizer.
        """
        require_same(self.arrays(), state["networks"], owner=owner)
        storage.load_optimizer(self.optimizer, state["optimizer"], owner=owner)
        self.load_arrays(state["networks"], owner=owner)

    def input_width(self) -> int | None:
        """What the first layer that tells it reads."""
        for module in self.modules.values():
            for layer in module.modules():
                width = getattr(layer, "in_features", None)
                if isinstance(width, int):
                    return width
        return None

    def perturb(self, noise_scale: float, rng: np.random.Generator) -> None:
        """Multiply every trainable weight by ``1 + noise_scale * N(0, 1)``."""
        weights = self.flat.to_numpy()
        self.flat.assign(
            weights * (1.0 + noise_scale * rng.standard_normal(len(weights))).astype(weights.dtype)
        )
        self._changed()
