"""Two critics as one function, perhaps behind an encoder that they share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from optix_jax.networks.network import Network

Params = Any
Critic = Callable[..., jax.Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinCritics:
    """Functions of ``{"critic1": ..., "critic2": ...}``, and ``"encoder"`` where there is one.

    The two are evaluated one after the other: on a CPU a batched product takes as long as two single ones, and the
    gradient of a stacked array longer.

    Attributes:
        critic1: To values ``[B]`` or ``[B, 1]``; of one row ``[B, features + A]``, or of ``(features, actions)`` if
            ``takes_both``.
        critic2: Another of the same kind.
        encoder: Observations to features; None: observations themselves, flattened for critics of one row.
        takes_both: Whether critics take observations and actions apart.
    """

    critic1: Network
    critic2: Network
    encoder: Network | None = None
    takes_both: bool = False

    @property
    def networks(self) -> dict[str, Network]:
        """All, by name."""
        found = {"critic1": self.critic1, "critic2": self.critic2}
        return found if self.encoder is None else {"encoder": self.encoder, **found}

    def values(self, params: Params, observations: Any, actions: jax.Array) -> tuple[jax.Array, jax.Array]:
        """``[B]`` of each."""
        inputs = self._inputs(params, observations, actions)
        return (
            self.critic1.apply(params["critic1"], *inputs).reshape(-1),
            self.critic2.apply(params["critic2"], *inputs).reshape(-1),
        )

    def first(self, params: Params, observations: Any, actions: jax.Array) -> jax.Array:
        """``[B]`` of the first."""
        inputs = self._inputs(params, observations, actions)
        return self.critic1.apply(params["critic1"], *inputs).reshape(-1)

    def _inputs(self, params: Params, observations: Any, actions: jax.Array) -> tuple[Any, ...]:
        features = observations
        if self.encoder is not None:
            features = self.encoder.apply(params["encoder"], observations)
        if self.takes_both:
            return features, actions
        flat = features.reshape(len(features), -1).astype(actions.dtype)
        return (jnp.concatenate([flat, actions], axis=1),)
