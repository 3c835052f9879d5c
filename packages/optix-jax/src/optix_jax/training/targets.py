"""Target networks: slow copies that make the targets of temporal-difference learning stand still."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from optix_core.agents.weights import require_same
from optix_core.state import State
from optix_jax.networks.network import Params
from optix_jax.training.trainable import Trainable, unprefixed


class Target:
    """A slow copy of the parameters of a trainable.

    Args:
        source: What it follows.

    Attributes:
        params: Like those of ``source``, in memory of their own. A compiled update that moves them puts the new ones
            here.
    """

    def __init__(self, source: Trainable) -> None:
        self._source = source
        self.params: Params = copied(source.params)

    def copy(self) -> None:
        """Become equal to the original (Mnih et al. 2015, doi:10.1038/nature14236)."""
        self.params = copied(self._source.params)

    def polyak(self, tau: float) -> None:
        """Go the share ``tau`` of the way towards the original."""
        self.params = _followed(self.params, self._source.params, tau)

    def state_dict(self) -> State:
        """Parameters, as ``network/name``."""
        return {
            f"{prefix}/{name}": array
            for prefix, network in self._source.networks.items()
            for name, array in network.unpack(self.params[prefix]).items()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`.

        Raises:
            IncompatibleCheckpoint: Names or shapes differ; nothing is changed then.
        """
        require_same(self.state_dict(), state, owner="the target network")
        self.params = jax.tree.map(
            lambda leaf, like: jax.device_put(leaf.copy(), like.device),
            unprefixed(self._source.networks, state),
            self.params,
        )


def polyak(slow: Params, online: Params, tau: jax.Array | float) -> Params:
    """``slow`` after the share ``tau`` of the way towards ``online`` (Lillicrap et al. 2015, arXiv:1509.02971, 3).

    Counted from the nearer end, so that a tau of 1 gives ``online`` to the bit.
    """

    def follow(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.where(tau < 0.5, a + tau * (b - a), b - (1.0 - tau) * (b - a))

    return jax.tree.map(follow, slow, online)


_followed = jax.jit(polyak)


def copied(online: Params) -> Params:
    """Equal parameters in memory of their own."""
    return jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), online)
