"""Continuous actions behind the same interface as those that are choices."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

from gymnasium.spaces import Box
from numpy.typing import NDArray

from optix_core.acting.distributions import Head
from optix_core.agents.discrete_actions import DiscreteActions
from optix_core.rl.spaces import BoxScaler

if TYPE_CHECKING:
    from optix_core.agents.describing import Described
    from optix_core.export import GraphBuilder


class BoxActions:
    """Numbers ``[N, A]``, unbounded, of which [-1, 1] is mapped to a Box; what lies beyond is clipped.

    Args:
        space: The Box.

    Attributes:
        head: What a network's outputs mean.
        n_actions: A.
        nvec: Empty.
    """

    def __init__(self, space: Box) -> None:
        self.head: Head = "gaussian"
        self._scaler = BoxScaler(space)
        self._shape = self._scaler.low.shape
        self.n_actions: int | None = math.prod(self._shape)
        self.nvec: tuple[int, ...] = ()

    def to_env(self, actions: NDArray[Any]) -> NDArray[Any]:
        """``[N, *act]`` in the space's dtype."""
        return self._scaler.to_box(actions.reshape(-1, *self._shape))

    def one(self, actions: NDArray[Any]) -> Any:
        """The action of the environment that the first row means, ``[*act]``."""
        return self.to_env(actions)[0]

    def describe(
        self, b: GraphBuilder, outputs: str, mask: str | None, n_actions: int | None = None
    ) -> Described:
        """The operations from an actor's ``outputs``, the first A of which are means, to an element of the Box."""
        from optix_core.agents.describing import Described, to_box

        del mask, n_actions  # numbers cannot be masked
        mean = b.add("slice", outputs, start=0, stop=math.prod(self._shape))
        return Described(to_box(b, mean, self._scaler), self._scaler.info, {"mean": mean})


def actions_of(space: Any, owner: str) -> BoxActions | DiscreteActions:
    """What maps policy actions to elements of ``space``; None is Discrete."""
    if isinstance(space, Box):
        return BoxActions(cast("Box", space))
    return DiscreteActions(space, owner)
