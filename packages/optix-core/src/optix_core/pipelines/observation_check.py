"""Whether observations lie in the space their environment declares; looked at once per window, in bulk."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.errors import EnvironmentFault
from optix_core.rl.spaces import SpaceInfo
from optix_core.rl.structured import Path, leaf_infos, part

WARNINGS = 3


class ObservationCheck:
    """Compares windows with the bounds of the observation space, part by part.

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
        self._bounded: list[tuple[Path, SpaceInfo]] = [
            (path, info) for path, info in leaf_infos(space) if not _is_everything(info)
        ]

    def __call__(self, observations: NDArray[Any], window_index: int) -> str | None:
        """Count observations ``[T, N, *obs]`` outside; a text to warn with, the first three times.

        Raises:
            EnvironmentFault: One is outside and ``strict`` was asked for.
        """
        found: list[tuple[Path, SpaceInfo, NDArray[np.bool_]]] = []
        for path, info in self._bounded:
            values = part(observations, path)
            outside = (values < info.low) | (values > info.high)
            if outside.any():
                found.append((path, info, outside))
        if not found:
            return None
        steps = observations.shape[:2]
        rows = [outside.reshape(*steps, -1).any(axis=-1) for _, _, outside in found]
        self.count += int(np.logical_or.reduce(rows).sum())
        path, info, outside = found[0]
        t, n, *component = np.argwhere(outside)[0].tolist()
        where = tuple(component)
        low, high = np.asarray(info.low)[where], np.asarray(info.high)[where]
        what = f"component {component} of {'.'.join(path) or 'the observation'}"
        text = (
            f"environment {n}, step {t} of window {window_index}: {what} is "
            f"{part(observations, path)[(t, n, *where)]}, outside of {info.label} ([{low}, {high}]). Correct the "
            f"environment or its observation_space. So far {self.count} observation(s) were outside"
        )
        if self.strict:
            raise EnvironmentFault(text, code="E-ENV-OBSERVATION")
        self._warned += 1
        if self._warned > WARNINGS:
            return None
        return text + ("; further ones are only counted." if self._warned == WARNINGS else ".")


def _is_everything(info: SpaceInfo) -> bool:
    """Whether the dtype cannot even say a value outside of the space."""
    if info.dtype.kind == "b":
        return True
    lowest, highest = (
        (-np.inf, np.inf) if info.dtype.kind == "f" else (np.iinfo(info.dtype).min, np.iinfo(info.dtype).max)
    )
    return bool((info.low == lowest).all() and (info.high == highest).all())
