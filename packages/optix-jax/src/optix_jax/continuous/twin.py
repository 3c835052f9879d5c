"""Two critics as one function, perhaps behind an encoder that they share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from optix_jax.networks.network import Network

Params = Any
Function = Callable[..., jax.Array]


@dataclass(frozen=True, slots=True)
class ActorFunction:
    """``({"actor": params}, observations) -> [B, out]``.

    Attributes:
        network: The pure function of the actor's own parameters.
    """

    network: Function

    @property
    def shareable(self) -> bool:
        """Whether equal ones compute the same."""
        return getattr(self.network, "shareable", False)

    def __call__(self, params: Params, observations: Any) -> jax.Array:
        """``[B, out]``."""
        return self.network(params["actor"], observations)


@dataclass(frozen=True, slots=True)
class CriticFunctions:
    """Pure functions of ``{"critic1": ..., "critic2": ...}``, and ``"encoder"`` where there is one.

    The two are evaluated one after the other: on a CPU a batched product takes as long as two single ones, and the
    gradient of a stacked array longer.

    Attributes:
        critic1: Of its own parameters and its inputs.
        critic2: The same.
        encoder: Observations to features; None: observations themselves, flattened for critics of one row.
        takes_both: Whether critics take features and actions apart.
    """

    critic1: Function
    critic2: Function
    encoder: Function | None
    takes_both: bool

    @property
    def shareable(self) -> bool:
        """Whether equal ones compute the same."""
        both = (self.critic1, self.critic2)
        return self.encoder is None and all(getattr(one, "shareable", False) for one in both)

    def values(self, params: Params, observations: Any, actions: jax.Array) -> tuple[jax.Array, jax.Array]:
        """``[B]`` of each."""
        inputs = self._inputs(params, observations, actions)
        return (
            self.critic1(params["critic1"], *inputs).reshape(-1),
            self.critic2(params["critic2"], *inputs).reshape(-1),
        )

    def first(self, params: Params, observations: Any, actions: jax.Array) -> jax.Array:
        """``[B]`` of the first."""
        inputs = self._inputs(params, observations, actions)
        return self.critic1(params["critic1"], *inputs).reshape(-1)

    def _inputs(self, params: Params, observations: Any, actions: jax.Array) -> tuple[Any, ...]:
        features = observations if self.encoder is None else self.encoder(params["encoder"], observations)
        if self.takes_both:
            return features, actions
        flat = features.reshape(len(features), -1).astype(actions.dtype)
        return (jnp.concatenate([flat, actions], axis=1),)


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinCritics:
    """Two critics with the parameters that they start from.

    Attributes:
        critic1: To values ``[B]`` or ``[B, 1]``; of one row ``[B, features + A]``, or of ``(features, actions)`` if
            ``takes_both``.
        critic2: Another of the same kind.
        encoder: Observations to features, for both; perhaps None.
        takes_both: Whether critics take features and actions apart.
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

    @property
    def functions(self) -> CriticFunctions:
        """What they compute."""
        encoder = None if self.encoder is None else self.encoder.apply
        return CriticFunctions(self.critic1.apply, self.critic2.apply, encoder, self.takes_both)
