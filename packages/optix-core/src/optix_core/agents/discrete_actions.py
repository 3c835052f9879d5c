"""From policy actions to the elements of spaces of choices, and which head such a space needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.spaces import Discrete
from numpy.typing import NDArray

from optix_core.acting.distributions import Head
from optix_core.errors import ConfigError
from optix_core.rl.spaces import SpaceKind, describe_space, require_kind

if TYPE_CHECKING:
    from optix_core.agents.describing import Described
    from optix_core.export import GraphBuilder

KINDS: frozenset[SpaceKind] = frozenset({"discrete", "multi_discrete", "multi_binary"})


class DiscreteActions:
    """Discrete, MultiDiscrete and MultiBinary actions.

    Policy actions count from 0: int64 ``[N]`` (Discrete) or ``[N, K]`` (MultiDiscrete), int8 bits ``[N, K]``
    (MultiBinary), whatever the shape of the space.

    Args:
        space: None is a Discrete space of unknown size that starts at 0.
        owner: For messages.

    Attributes:
        head: What a network's outputs mean.
        n_actions: How many outputs it needs; None if unknown.
        nvec: Choices of each component of a MultiDiscrete, flattened; else empty.

    Raises:
        SpaceError: Another kind of space.
    """

    def __init__(self, space: Any, owner: str) -> None:
        self.head: Head = "categorical"
        self.n_actions: int | None = None
        self.nvec: tuple[int, ...] = ()
        self._shape: tuple[int, ...] = ()
        self._low: NDArray[Any] = np.zeros((), np.int64)
        self._dtype: np.dtype[Any] = np.dtype(np.int64)
        self._same, self._space = True, space
        if space is None:
            return
        info = require_kind(space, KINDS, role="action", component=owner)
        self.n_actions, self._shape, self._dtype = info.flat_dim, info.shape, info.dtype
        self._low = np.asarray(info.low)
        if info.nvec is not None:
            self.head, self.nvec = "multi_categorical", tuple(info.nvec.reshape(-1).tolist())
        elif info.kind == "multi_binary":
            self.head = "bernoulli"
        policy_dtype = np.int8 if info.kind == "multi_binary" else np.int64
        self._same = not self._low.any() and len(self._shape) <= 1 and self._dtype == policy_dtype

    def to_env(self, actions: NDArray[Any]) -> NDArray[Any]:
        """``[N, *act]`` in the space's dtype; ``actions`` itself where nothing changes."""
        if self._same:
            return actions
        return (actions.reshape(len(actions), *self._shape) + self._low).astype(self._dtype)

    def one(self, actions: NDArray[Any]) -> Any:
        """The action of the environment that the first row means: an int, or an array ``[*act]``."""
        action = self.to_env(actions)[0]
        return int(action) if action.ndim == 0 else action

    def describe(
        self, b: GraphBuilder, logits: str, mask: str | None, n_actions: int | None = None
    ) -> Described:
        """The operations from an actor's outputs ``logits`` to the most probable action.

        Args:
            b: What is appended to.
            logits: The name of the value.
            mask: The name of the mask's value, if there is one.
            n_actions: Used where the action space is not known.

        Raises:
            ConfigError: Neither is known.
        """
        from optix_core.agents.describing import Described

        if self._space is None and n_actions is None:
            raise ConfigError("the number of actions is not known: pass action_space= to the agent")
        space = describe_space(Discrete(n_actions or 1) if self._space is None else self._space)
        if mask is not None:
            logits = b.add("mask", logits, mask)
        start = self._low.reshape(-1).tolist()
        if self.head == "categorical":
            action = b.add("argmax", logits, start=start[0])
        elif self.head == "multi_categorical":
            action = b.add("multi_argmax", logits, nvec=self.nvec, start=start)
        else:
            action = b.add("positive", logits)
        return Described(action, space, {"logits": logits})
