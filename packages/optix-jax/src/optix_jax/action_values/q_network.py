"""Networks that give a value to every action, and how they are built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax

from optix_core.agents import describing
from optix_jax.networks.network import Network, Params, described

if TYPE_CHECKING:
    from optix_core.export import GraphBuilder


@dataclass(frozen=True, slots=True)
class QFunction:
    """``({"q_network": params}, observations) -> [B, A]``.

    Attributes:
        trunk: The pure function before the dueling layer.
        dueling: Whether there is one.
    """

    trunk: Callable[..., jax.Array]
    dueling: bool

    @property
    def shareable(self) -> bool:
        """Whether equal ones compute the same."""
        return getattr(self.trunk, "shareable", False)

    def __call__(self, params: Params, observations: Any) -> jax.Array:
        """``[B, A]``."""
        outputs = self.trunk(params["q_network"], observations)
        return dueling_values(outputs) if self.dueling else outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class QNetwork:
    """Observations to action values.

    Attributes:
        trunk: To action values ``[B, A]``; if ``dueling``, to a value and advantages ``[B, 1 + A]``.
        dueling: ``Q = V + A - mean A`` (Wang et al. 2016, arXiv:1511.06581, eq. 9): both streams share all hidden
            layers and have one linear layer each.
    """

    trunk: Network
    dueling: bool = False

    @property
    def function(self) -> QFunction:
        """What it computes."""
        return QFunction(self.trunk.apply, self.dueling)

    def describe(self, b: GraphBuilder, params: Params, x: Any, n_actions: int) -> str:
        """Append the operations to a policy graph.

        Raises:
            ConfigError: Nobody knows them.
        """
        outputs = described(self.trunk, b, params, x)
        return describing.dueling(b, outputs, n_actions) if self.dueling else outputs


def dueling_values(outputs: jax.Array) -> jax.Array:
    """``[B, 1 + A]`` to ``[B, A]``."""
    advantages = outputs[:, 1:]
    return outputs[:, :1] + advantages - advantages.mean(axis=1, keepdims=True)
