"""Whether observations lie in the space their environment declares; looked at once per window, in bulk."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.errors import EnvironmentFault
from optix_core.rl.spaces import SpaceInfo

WARNINGS = 3


class ObservationCheck:
    """Compares windows with the bounds of the observation space.

    Args:
        space: Its bounds; integer spaces that fill their dtype (images) need no look.
        strict: Raise at the first observation outside.

    Attributes:
        count: Observations found outside so far.
    """

    def __init__(self, space: SpaceInfo, *, strict: bool = False) -> None:
        self.strict = strict
        self.count = 0
        self._warned = 0
        assert space.low is not None
        assert space.high is not None
        assert space.dtype is not None
        self._space = space
        self._low = None if _is_lowest(space.low, space.dtype) else space.low
        self._high = None if _is_highest(space.high, space.dtype) else space.high

    def __call__(self, observations: NDArray[Any], window_index: int) -> str | None:
        """Count observations ``[T, N, *obs]`` outside; a text to warn with, the first three times.

        Raises:
            EnvironmentFault: One is outside and ``strict`` was asked for.
        """
        below = None if self._low is None else observations < self._low
        above = None if self._high is None else observations > self._high
        if (below is None or not below.any()) and (above is None or not above.any()):
            return None
        outside = np.zeros(observations.shape, np.bool_)
        for side in (below, above):
            if side is not None:
                outside |= side
        self.count += int(outside.reshape(*outside.shape[:2], -1).any(axis=-1).sum())
        t, n, *component = np.argwhere(outside)[0].tolist()
        where = tuple(component)
        low, high = np.asarray(self._space.low)[where], np.asarray(self._space.high)[where]
        text = (
            f"environment {n}, step {t} of window {window_index}: component {component} of the observation is "
            f"{observations[(t, n, *where)]}, outside of {self._space.label} ([{low}, {high}]). Correct the "
            f"environment or its observation_space. So far {self.count} observation(s) were outside"
        )
        if self.strict:
            raise EnvironmentFault(text, code="E-ENV-OBSERVATION")
        self._warned += 1
        if self._warned > WARNINGS:
            return None
        return text + ("; further ones are only counted." if self._warned == WARNINGS else ".")


def _is_lowest(low: NDArray[Any], dtype: np.dtype[Any]) -> bool:
    return bool((low == (-np.inf if dtype.kind == "f" else np.iinfo(dtype).min)).all())


def _is_highest(high: NDArray[Any], dtype: np.dtype[Any]) -> bool:
    return bool((high == (np.inf if dtype.kind == "f" else np.iinfo(dtype).max)).all())
