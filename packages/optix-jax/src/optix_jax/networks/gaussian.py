"""A Gaussian policy's network: means that depend on observations, and standard deviations that do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from optix_core.acting import MLPSpec
from optix_jax.networks.network import Arrays, Network, Params, prefixed, without_prefix

if TYPE_CHECKING:
    from optix_core.export import GraphBuilder


@dataclass(frozen=True, slots=True)
class GaussianFunction:
    """``(params, observations) -> [B, 2 A]``.

    Attributes:
        mean: The pure function of the means' parameters.
        action_dim: A.
        joined: Whether parameters are one vector that ends in ``log_std``; else ``{"mean": ..., "log_std": ...}``.
    """

    mean: Callable[..., jax.Array]
    action_dim: int
    joined: bool

    @property
    def shareable(self) -> bool:
        """Whether equal ones compute the same."""
        return getattr(self.mean, "shareable", False)

    def split(self, params: Params) -> tuple[Params, Any]:
        """Parameters of the means, and logarithms of standard deviations."""
        if self.joined:
            return params[: -self.action_dim], params[-self.action_dim :]
        return params["mean"], params["log_std"]

    def __call__(self, params: Params, observations: Any) -> jax.Array:
        """Means and logarithms of standard deviations."""
        inner, log_std = self.split(params)
        means = self.mean(inner, observations)
        return jnp.concatenate([means, jnp.broadcast_to(log_std, means.shape)], axis=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianNetwork(Network):
    """Means followed by logarithms of standard deviations, ``[B, 2 A]``.

    Attributes:
        mean_spec: Of means that a plain perceptron gives: then parameters are one vector, the perceptron's followed by
            ``log_std``, as ``optix_core.acting.PolicySpec`` lays them out. None for any other network.
    """

    mean_spec: MLPSpec | None = None


def gaussian_actor(mean: Network, action_dim: int, initial_log_std: float = 0.0) -> GaussianNetwork:
    """``mean``, which gives ``[B, A]``, with logarithms of standard deviations that are parameters of their own.

    Args:
        mean: Observations to means.
        action_dim: A.
        initial_log_std: What every logarithm starts at.
    """
    log_std = np.full(action_dim, initial_log_std, np.float32)
    function = GaussianFunction(mean.apply, action_dim, joined=mean.spec is not None)

    def join(mean_params: Params, deviations: Any) -> Params:
        if function.joined:
            return np.concatenate([np.asarray(mean_params), np.asarray(deviations)])
        return {"mean": mean_params, "log_std": deviations}

    def unpack(params: Params) -> Arrays:
        inner, deviations = function.split(params)
        return prefixed("mean", mean.unpack(inner)) | {"log_std": np.array(deviations)}

    def pack(arrays: Mapping[str, NDArray[Any]]) -> Params:
        return join(mean.pack(without_prefix("mean", arrays)), np.asarray(arrays["log_std"], np.float32))

    def describe(b: GraphBuilder, params: Params, x: Any) -> str:
        assert mean.describe is not None
        return mean.describe(b, function.split(params)[0], x)  # the greedy action knows no deviations

    return GaussianNetwork(
        apply=function,
        params=join(mean.params, log_std),
        unpack=unpack,
        pack=pack,
        describe=None if mean.describe is None else describe,
        input_width=mean.input_width,
        mean_spec=mean.spec,
    )
