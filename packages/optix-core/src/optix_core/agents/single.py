"""One observation, as an environment gave it, as a batch of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from optix_core.rl.masking import ACTION_MASK, OBSERVATION, is_masked, with_masks
from optix_core.rl.spaces import describe_space
from optix_core.rl.structured import is_structured, pack


class SingleObservation:
    """Makes ``[1, *obs]`` of what ``env.step`` returned.

    Besides observations of the space, ``{"observation": observation, "action_mask": mask}`` is understood: an
    observation with the actions that are allowed in it.

    Args:
        space: Of observations; None if unknown: then observations must be arrays, or dicts of arrays.
    """

    def __init__(self, space: Any = None) -> None:
        self._dtype = None if space is None else describe_space(space).dtype

    def __call__(self, observation: Any) -> NDArray[Any]:
        """``[1, *obs]``, structured where the observation has parts.

        Raises:
            ObservationMismatch: Its parts are not those of the space.
        """
        if isinstance(observation, Mapping):
            observation = cast("Mapping[str, Any]", observation)
            if set(observation) == {OBSERVATION, ACTION_MASK} and not self._has_masks():
                mask: NDArray[np.bool_] = np.asarray(observation[ACTION_MASK]).reshape(1, -1)
                return with_masks(self(observation[OBSERVATION]), mask)
            return pack(observation, self._dtype or _dtype_of(observation))[None]
        if isinstance(observation, tuple) and self._dtype is not None and is_structured(self._dtype):
            return pack(observation, self._dtype)[None]
        array: NDArray[Any] = np.asarray(cast("Any", observation))
        return array[None]

    def _has_masks(self) -> bool:
        return self._dtype is not None and is_masked(self._dtype)


def _dtype_of(value: Any) -> np.dtype[Any]:
    """The structured dtype of a dict, by its values; of anything else that of its array."""
    if not isinstance(value, Mapping):
        return np.asarray(value).dtype
    fields: list[tuple[str, Any, tuple[int, ...]]] = []
    for name, part in cast("Mapping[str, Any]", value).items():
        fields.append((str(name), _dtype_of(part), () if isinstance(part, Mapping) else np.shape(part)))
    return np.dtype(fields, align=True)
