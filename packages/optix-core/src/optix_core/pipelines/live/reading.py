"""Whether an item can be used, and what is wrong with it if not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from optix_core.errors import EnvironmentFault
from optix_core.pipelines.reading import ObservationReader, offers_masks
from optix_core.rl.spaces import SpaceInfo, describe_space

_FLAGS: tuple[type, ...] = (bool, np.bool_)
_NO_NUMBERS: tuple[type, ...] = (*_FLAGS, str, bytes)


class Malformed(Exception):
    """The item cannot be used; the text says why."""


@dataclass(slots=True)
class Observed:
    """A good item.

    Attributes:
        observation: As one element of a window.
        reward: Of the step that led here.
        terminated: That step reached a terminal state.
        truncated: That step was the last one for another reason.
        info: As it came.
    """

    observation: NDArray[Any]
    reward: float
    terminated: bool
    truncated: bool
    info: Mapping[str, Any]


class ItemReader:
    """Turns items into :class:`Observed`. What observations look like is known, or learned from the first good one.

    Args:
        observation: Their space, if it is known.
        action: Space of actions, if it is known; needed for action masks.
        masks: The agent understands action masks.
    """

    def __init__(self, observation: SpaceInfo | None, action: SpaceInfo | None, *, masks: bool) -> None:
        self._space, self._action, self._masks = observation, action, masks
        self.reader: ObservationReader | None = None

    def read(self, raw: Any) -> Observed:
        """The item, taken apart and checked.

        Raises:
            Malformed: It is none, or its observation or reward is not finite or does not fit.
        """
        items = cast("tuple[Any, ...]", raw) if isinstance(raw, tuple | list) else ()
        if len(items) != 5:
            found = type(cast("Any", raw)).__name__ + (f" of {len(items)}" if items else "")
            raise Malformed(f"expected (observation, reward, terminated, truncated, info), got a {found}")
        observation, reward, terminated, truncated, info = items
        for name, flag in (("terminated", terminated), ("truncated", truncated)):
            if not isinstance(flag, _FLAGS):
                raise Malformed(f"{name} is {_short(flag)}; expected True or False")
        if isinstance(reward, _NO_NUMBERS):
            raise Malformed(f"the reward is {_short(reward)}; expected one number")
        try:
            number = float(reward)
        except (TypeError, ValueError, OverflowError):
            raise Malformed(f"the reward is {_short(reward)}; expected one number") from None
        if not math.isfinite(number):
            raise Malformed(f"the reward is {number}")
        if info is None:
            info = {}
        if not isinstance(info, Mapping):
            raise Malformed(f"info is {_short(info)}; expected a dict")
        about = cast("Mapping[str, Any]", info)
        row = self._observation(observation, about, terminated=bool(terminated))
        return Observed(row, number, bool(terminated), bool(truncated), about)

    def _observation(self, observation: Any, info: Mapping[str, Any], *, terminated: bool) -> NDArray[Any]:
        reader = self.reader or self._first_reader(observation, info)
        try:
            row = reader.one(
                observation, info, None, env_index=0, call="item", where=_nowhere, terminated=terminated
            )
        except EnvironmentFault as fault:
            raise Malformed(fault.message.partition(": ")[2] or fault.message) from None
        except (TypeError, ValueError, KeyError, OverflowError) as error:
            raise Malformed(f"the observation cannot be read: {error!r}") from None
        if not reader.finite(row):
            raise Malformed(reader.nonfinite(row))
        self.reader = reader
        return row

    def _first_reader(self, observation: Any, info: Mapping[str, Any]) -> ObservationReader:
        space = self._space or _space_like(observation)
        action = self._action or describe_space(spaces.Box(-np.inf, np.inf, (1,)))
        masked = self._masks and offers_masks(space, action, None, info)
        return ObservationReader(space, action, masked=masked)


def _space_like(observation: Any) -> SpaceInfo:
    """An unbounded space of arrays like this one."""
    try:
        array = np.asarray(observation)
    except ValueError as error:
        raise Malformed(f"the observation is no array of numbers: {error}") from None
    if array.dtype.kind not in "biuf" or (array.dtype.kind == "f" and not np.isfinite(array).all()):
        hint = (
            "; of observations with parts, pass observation_space="
            if isinstance(observation, Mapping)
            else ""
        )
        raise Malformed(
            f"the observation {_short(cast('object', observation))} is no array of finite numbers{hint}"
        )
    if array.dtype.kind == "b":
        return describe_space(spaces.MultiBinary(array.shape))
    if array.dtype.kind == "f":
        low, high = -np.inf, np.inf
    else:
        limits = np.iinfo(array.dtype)
        low, high = limits.min, limits.max
    return describe_space(spaces.Box(low, high, array.shape, array.dtype.type))


def _nowhere() -> str:
    return ""


def _short(value: object) -> str:
    text = repr(value)
    return f"{text[:60]}{'...' if len(text) > 60 else ''} ({type(value).__name__})"
