"""Networks, their parameters and the optimizer that steps them: what is trained, stored and restored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from optix_core.agents.weights import Arrays, require_same
from optix_core.state import State
from optix_jax.networks.network import Network, Params
from optix_jax.training.optimizers import Optimizer


class Trainable:
    """Named networks and one optimizer over the parameters of all of them.

    Args:
        networks: By name.
        optimizer: Of all of them.
        device: Where parameters live, a ``jax.Device``.
        changed: Called whenever weights were set from outside; refreshes whatever was derived from them.
        perturbable: Whether ``perturb_weights`` reaches these parameters; no for a temperature.

    Attributes:
        networks: By name.
        optimizer: Steps ``params``.
        params: ``{name: parameters}`` on the device. A compiled update takes their memory over: whoever makes a step
            puts the new ones here.
        moments: The optimizer's state, in the same way.
    """

    def __init__(
        self,
        networks: Mapping[str, Network],
        optimizer: Optimizer,
        device: Any,
        changed: Callable[[], None] = lambda: None,
        *,
        perturbable: bool = True,
    ) -> None:
        self.networks, self.optimizer, self.perturbable = dict(networks), optimizer, perturbable
        self._device, self._changed = device, changed
        self._learning_rate = optimizer.learning_rate
        self.params: Params = self._placed({name: network.params for name, network in networks.items()})
        self.moments: Any = self._placed(optimizer.init(self.params))

    def host(self, name: str) -> Params:
        """The parameters of one network as numpy arrays that nobody changes."""
        return jax.tree.map(np.array, self.params[name])

    def learning_rate(self) -> float:
        """Of the steps to come."""
        return self._learning_rate

    def set_learning_rate(self, value: float) -> None:
        """For the steps to come; moments are kept and nothing is compiled."""
        self._learning_rate = float(value)

    def arrays(self) -> Arrays:
        """Copies of all weights, as ``network/name``."""
        return {
            f"{prefix}/{name}": array
            for prefix, network in self.networks.items()
            for name, array in network.unpack(self.params[prefix]).items()
        }

    def load_arrays(self, arrays: Mapping[str, NDArray[Any]], *, owner: str) -> None:
        """Take over what :meth:`arrays` gave.

        Raises:
            IncompatibleCheckpoint: Names or shapes differ; nothing is changed then.
        """
        require_same(self.arrays(), arrays, owner=owner)
        self.params = self._placed(unprefixed(self.networks, arrays))
        self._changed()

    def state_dict(self) -> State:
        """Weights, and the optimizer's state by the paths in its tree."""
        return {
            "networks": self.arrays(),
            "optimizer": {"learning_rate": self._learning_rate, "state": self._moment_arrays()},
        }

    def load_state_dict(self, state: Mapping[str, Any], *, owner: str) -> None:
        """Continue from :meth:`state_dict`.

        Raises:
            IncompatibleCheckpoint: It belongs to other networks or another optimizer.
        """
        require_same(self.arrays(), state["networks"], owner=owner)
        found = state["optimizer"]["state"]
        own = self._moment_arrays()
        require_same(own, found, owner=f"{owner}'s optimizer")
        leaves = [np.asarray(found[name]) for name in own]
        self.moments = self._placed(jax.tree.unflatten(jax.tree.structure(self.moments), leaves))
        self._learning_rate = float(state["optimizer"]["learning_rate"])
        self.load_arrays(state["networks"], owner=owner)

    def perturb(self, noise_scale: float, rng: np.random.Generator) -> None:
        """Multiply every weight by ``1 + noise_scale * N(0, 1)``."""

        def noisy(leaf: Any) -> NDArray[Any]:
            weights = np.asarray(leaf)
            factors = 1.0 + noise_scale * rng.standard_normal(weights.shape)
            return weights * factors.astype(weights.dtype)

        self.params = self._placed(jax.tree.map(noisy, self.params))
        self._changed()

    def input_width(self) -> int | None:
        """Numbers in one observation, as the first network tells; None if it does not."""
        return next(iter(self.networks.values())).input_width

    def _placed(self, tree: Any) -> Any:
        # a copy: memory that a step may take over must not be anybody else's
        return jax.tree.map(lambda leaf: jax.device_put(np.array(leaf), self._device), tree)

    def _moment_arrays(self) -> Arrays:
        paths, _ = jax.tree_util.tree_flatten_with_path(self.moments)
        return {
            jax.tree_util.keystr(path, simple=True, separator="."): np.array(leaf) for path, leaf in paths
        }


def unprefixed(networks: Mapping[str, Network], arrays: Mapping[str, NDArray[Any]]) -> dict[str, Params]:
    """Parameters by network from arrays that are called ``network/name``."""
    found: dict[str, Params] = {}
    for prefix, network in networks.items():
        start = f"{prefix}/"
        found[prefix] = network.pack(
            {name.removeprefix(start): a for name, a in arrays.items() if name.startswith(start)}
        )
    return found
