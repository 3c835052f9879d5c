"""How what an environment gives becomes an element of a window: plain, with parts, or with an action mask."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from optix_core.errors import EnvironmentFault
from optix_core.pipelines.env_checks import as_observation
from optix_core.pipelines.faults import nonfinite_detail
from optix_core.rl import structured
from optix_core.rl.masking import ACTION_MASK, OBSERVATION, is_masked, mask_size, masked_info
from optix_core.rl.spaces import SpaceInfo

MaskMethod = Callable[[], Any]


def mask_method(env: Any) -> MaskMethod | None:
    """The environment's ``action_masks``, looked for in all its wrappers; None if it has none."""
    look = getattr(env, "get_wrapper_attr", None)
    try:
        found = env.action_masks if look is None else look("action_masks")
    except AttributeError:
        return None
    return found if callable(found) else None


def offers_masks(observation: SpaceInfo, actions: SpaceInfo, env: Any, info: Any) -> bool:
    """Whether masks come beside the observations, in ``info`` of a reset or from ``env.action_masks()``.

    Observations that are a mask and an observation already need nothing beside them, and where actions are no choices
    (Box), nothing can be masked.
    """
    if mask_size(actions) is None or is_masked(observation.dtype):
        return False
    return (isinstance(info, Mapping) and ACTION_MASK in info) or mask_method(env) is not None


class ObservationReader:
    """Writes observations into arrays of one dtype, after looking whether they fit.

    Args:
        observation: Space of one observation.
        actions: Space of one action.
        masked: Add the action mask.

    Attributes:
        space: What is written: ``observation``, or the record of it and its mask.
        masked: Whether masks are added.
        plain_shape: Shape of an observation that may be copied without a look at its parts; None if there is none.
    """

    def __init__(self, observation: SpaceInfo, actions: SpaceInfo, *, masked: bool = False) -> None:
        self.space = masked_info(observation, actions) if masked else observation
        self.masked = masked
        self.dtype, self.shape = self.space.dtype, self.space.shape
        self.plain_shape = observation.shape if observation.is_array and not masked else None
        self._observation = observation
        self._size = mask_size(actions) if masked else None
        self._write = None if observation.is_array else structured.writer(observation.dtype)
        self._floats = [path for path, base, _ in structured.leaf_paths(self.dtype) if base.kind == "f"]

    @property
    def has_floats(self) -> bool:
        """Whether anything in an observation could be infinite or NaN."""
        return bool(self._floats)

    def rows(self, n: int) -> NDArray[Any]:
        """An array for ``n`` observations."""
        return np.zeros((n, *self.shape), self.dtype)

    def put(
        self,
        rows: NDArray[Any],
        at: Any,
        observation: Any,
        info: Any,
        method: MaskMethod | None,
        *,
        env_index: int,
        call: str,
        where: Callable[[], str],
        terminated: bool = False,
    ) -> None:
        """Write one observation to ``rows[at]``.

        Args:
            rows: Where to.
            at: Index of the element.
            observation: As the environment gave it.
            info: The info dict that came with it.
            method: The environment's ``action_masks``, if it has that.
            env_index: For messages.
            call: ``reset`` or ``step``, for messages.
            where: When, for messages.
            terminated: Nothing will be done there, so that the mask may be missing (everything is allowed then).

        Raises:
            EnvironmentFault: It does not fit its space, or its mask is missing or of a wrong size.
        """
        into = rows[OBSERVATION] if self.masked else rows
        if self._write is None:
            into[at] = as_observation(env_index, observation, self._observation, call, where)
        else:
            try:
                self._write(into, at, observation)
            except structured.ObservationMismatch as fault:
                raise EnvironmentFault(
                    f"environment {env_index}, {call}, {where()}: the observation does not fit the observation space "
                    f"{self._observation.label}: {fault}. Correct the environment or its observation_space.",
                    code="E-ENV-OBSERVATION",
                ) from None
        if self.masked:
            rows[ACTION_MASK][at] = self._mask(info, method, env_index, call, where, terminated=terminated)

    def put_batch(self, rows: NDArray[Any], observations: Any) -> None:
        """Write observations of a VectorEnv, batched part by part as its spaces are, to ``rows`` ``[N]``; no masks."""
        into = rows[OBSERVATION] if self.masked else rows
        for path, values in structured.leaves(into):
            found = observations
            for info, name in zip(structured.infos_along(self._observation, path), path, strict=True):
                found = found[int(name)] if info.kind == "tuple" else found[name]
            values[...] = found

    def put_mask(self, rows: NDArray[Any], at: int, given: Any, **about: Any) -> None:
        """Write one mask; arguments as for :meth:`put`."""
        about.setdefault("terminated", False)
        rows[ACTION_MASK][at] = self._mask({ACTION_MASK: given}, None, **about)

    def one(self, observation: Any, info: Any, method: MaskMethod | None, **about: Any) -> NDArray[Any]:
        """One observation as an array of its own; arguments as for :meth:`put`."""
        row = self.rows(1)
        self.put(row, 0, observation, info, method, **about)
        return row[0, ...]

    def _mask(
        self,
        info: Any,
        method: MaskMethod | None,
        env_index: int,
        call: str,
        where: Callable[[], str],
        *,
        terminated: bool,
    ) -> Any:
        given = cast("Mapping[str, Any]", info).get(ACTION_MASK) if isinstance(info, Mapping) else None
        if given is None and method is not None:
            try:
                given = method()
            except Exception as error:
                raise EnvironmentFault(
                    f"environment {env_index}, {call}, {where()}: action_masks() raised {error!r}. The original "
                    "traceback is above.",
                    code="E-ENV-RAISED",
                ) from error
        if given is None:
            if terminated:
                return True
            raise EnvironmentFault(
                f"environment {env_index}, {call}, {where()}: there is no action mask in info[{ACTION_MASK!r}] "
                "any more. An environment that masks actions has to do so at every reset and step.",
                code="E-ENV-OBSERVATION",
            )
        parts = cast("tuple[Any, ...]", given) if isinstance(given, tuple) else (given,)
        mask = np.concatenate([np.asarray(part).reshape(-1) for part in parts])
        if mask.size != self._size or mask.dtype.kind not in "biuf":
            raise EnvironmentFault(
                f"environment {env_index}, {call}, {where()}: the action mask has {mask.size} entries of dtype "
                f"{mask.dtype}, expected {self._size} of 0 and 1: one per action, of a MultiDiscrete one component "
                "after another.",
                code="E-ENV-OBSERVATION",
            )
        return mask != 0

    def finite(self, rows: NDArray[Any]) -> bool:
        """Whether all numbers in ``rows`` are finite."""
        return all(bool(np.isfinite(structured.part(rows, path)).all()) for path in self._floats)

    def nonfinite(self, element: NDArray[Any]) -> str:
        """Which components of one observation are not finite, in words."""
        for path in self._floats:
            values = structured.part(element, path)
            if not np.isfinite(values).all():
                return nonfinite_detail(np.asarray(values), structured.label(path))
        raise AssertionError("every component is finite")
