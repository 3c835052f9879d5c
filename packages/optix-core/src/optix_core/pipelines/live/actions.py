"""Acting for sources that do not say what their actions are."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from optix_core.pipelines.actor import Actor
from optix_core.rl.spaces import SpaceInfo, describe_space


class UncheckedActor(Actor):
    """Takes whatever the agent gives for an action; only numbers that are not finite are refused."""

    def __init__(self, agent: Any, observation_space: SpaceInfo | None = None) -> None:
        super().__init__(agent, describe_space(spaces.Discrete(1)), observation_space)
        self._discrete = False
        self.accepts_masks = False

    def _checked(
        self, n: int, policy: NDArray[Any], acted: NDArray[Any], masks: NDArray[np.bool_] | None
    ) -> tuple[NDArray[Any], NDArray[Any], list[Any]]:
        del n, masks
        if acted.dtype.kind == "f" and not np.isfinite(acted).all():
            raise self._nonfinite(acted)
        scalars = acted.ndim == 1 and acted.dtype.kind in "iub"
        return policy, acted, acted.tolist() if scalars else list(acted)
