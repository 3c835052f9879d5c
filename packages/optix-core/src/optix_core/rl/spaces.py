"""What an observation or action space looks like, and how policy outputs reach a Box."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from optix_core.errors import SpaceError

SpaceKind = Literal["discrete", "multi_discrete", "multi_binary", "box", "dict", "tuple"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceInfo:
    """The facts about a space that agents and pipelines ask for.

    Attributes:
        kind: ``discrete``, ``multi_discrete``, ``multi_binary``, ``box``, ``dict`` or ``tuple``.
        shape: Shape of one element as an array; ``()`` for Discrete, and for dict and tuple, whose element is one
            record.
        dtype: Dtype of one element; for dict and tuple a structured one with a field per part (see
            :mod:`optix_core.rl.structured`).
        n: Number of choices of a Discrete space.
        start: Smallest element of a Discrete space.
        nvec: Numbers of choices of a MultiDiscrete space.
        low: Smallest allowed element, per component, in ``dtype`` (Box: may be infinite); None for dict and tuple.
        high: Largest allowed element; None for dict and tuple.
        fields: The parts of a dict or tuple by name (of a tuple: ``"0"``, ``"1"``, ...), in the space's order.
        flat_dim: Length of the flattened element (discrete choices one-hot).
        label: Short text for messages, for example ``Box(3,)``.
    """

    kind: SpaceKind
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    n: int | None = None
    start: int = 0
    nvec: NDArray[np.int64] | None = None
    low: NDArray[Any] | None = None
    high: NDArray[Any] | None = None
    fields: tuple[tuple[str, SpaceInfo], ...] = ()
    flat_dim: int
    label: str

    @property
    def is_array(self) -> bool:
        """Whether one element is a single array of numbers (everything but dict and tuple)."""
        return self.kind not in {"dict", "tuple"}


# Gymnasium's spaces are only partly typed, so what isinstance() narrows to is looked at through `whole`, an Any.


def space_label(space: Any) -> str:
    """A short name for messages: ``Discrete(4)``, ``Box(3,)``, ``Dict(goal: Box(2,), pos: Box(3,))``."""
    whole: Any = space
    if isinstance(space, spaces.Discrete):
        return f"Discrete({int(whole.n)})"
    if isinstance(space, spaces.Box):
        return f"Box{whole.shape}"
    if isinstance(space, spaces.MultiDiscrete):
        return f"MultiDiscrete({whole.nvec.tolist()})"
    if isinstance(space, spaces.MultiBinary):
        return f"MultiBinary{whole.shape}"
    if isinstance(space, spaces.Dict):
        return "Dict(" + ", ".join(f"{key}: {space_label(sub)}" for key, sub in whole.spaces.items()) + ")"
    if isinstance(space, spaces.Tuple):
        return "Tuple(" + ", ".join(space_label(sub) for sub in whole.spaces) + ")"
    return type(space).__name__


def describe_space(space: Any) -> SpaceInfo:
    """The facts about ``space``.

    Raises:
        SpaceError: A kind of space that optix does not know (Text, Graph, Sequence, your own, ...), also inside a Dict
            or Tuple; or a Dict whose keys are not all words, or that is empty.
    """
    whole: Any = space
    label = space_label(space)
    if isinstance(space, spaces.Discrete):
        n, start = int(whole.n), int(whole.start)
        low, high = np.asarray(start, dtype=np.int64), np.asarray(start + n - 1, dtype=np.int64)
        return SpaceInfo(
            kind="discrete",
            shape=(),
            dtype=np.dtype(np.int64),
            n=n,
            start=start,
            low=low,
            high=high,
            flat_dim=n,
            label=label,
        )
    if isinstance(space, spaces.Box):
        return SpaceInfo(
            kind="box",
            shape=tuple(whole.shape),
            dtype=np.dtype(whole.dtype),
            low=whole.low,
            high=whole.high,
            flat_dim=int(np.prod(whole.shape, dtype=np.int64)),
            label=label,
        )
    if isinstance(space, spaces.MultiDiscrete):
        nvec = np.asarray(whole.nvec, dtype=np.int64)
        start_array = np.asarray(getattr(whole, "start", np.zeros_like(nvec)), dtype=np.int64)
        return SpaceInfo(
            kind="multi_discrete",
            shape=tuple(nvec.shape),
            dtype=np.dtype(whole.dtype),
            nvec=nvec,
            low=start_array,
            high=start_array + nvec - 1,
            flat_dim=int(nvec.sum()),
            label=label,
        )
    if isinstance(space, spaces.MultiBinary):
        shape = tuple(whole.shape)
        return SpaceInfo(
            kind="multi_binary",
            shape=shape,
            dtype=np.dtype(whole.dtype),
            low=np.zeros(shape, dtype=whole.dtype),
            high=np.ones(shape, dtype=whole.dtype),
            flat_dim=int(np.prod(shape, dtype=np.int64)),
            label=label,
        )
    if isinstance(space, spaces.Dict):
        return _composed("dict", label, list(whole.spaces.items()))
    if isinstance(space, spaces.Tuple):
        return _composed("tuple", label, [(str(place), part) for place, part in enumerate(whole.spaces)])
    raise SpaceError(
        f"the space {label} is of a kind optix cannot handle. Known kinds: Discrete, MultiDiscrete, "
        "MultiBinary, Box, Dict, Tuple. Wrap the environment so that it offers one of these, for example with "
        "gymnasium.wrappers.FlattenObservation or TransformObservation."
    )


def _composed(kind: Literal["dict", "tuple"], label: str, parts: list[tuple[Any, Any]]) -> SpaceInfo:
    """Facts about a space with parts: one record whose fields keep their dtypes and shapes."""
    wrong = [key for key, _ in parts if not isinstance(key, str) or not key]
    if wrong or not parts:
        found = f"the keys {wrong}" if wrong else "no parts"
        raise SpaceError(
            f"the space {label} has {found}; an observation or action with parts needs at least one, and a text as the "
            "key of each. Wrap the environment in gymnasium.wrappers.TransformObservation."
        )
    fields = tuple((key, describe_space(part)) for key, part in parts)
    return SpaceInfo(
        kind=kind,
        shape=(),
        dtype=record_dtype(fields),
        fields=fields,
        flat_dim=sum(info.flat_dim for _, info in fields),
        label=label,
    )


def record_dtype(fields: Iterable[tuple[str, SpaceInfo]]) -> np.dtype[Any]:
    """The structured dtype with one aligned field per part."""
    return np.dtype([(key, info.dtype, info.shape) for key, info in fields], align=True)


def flat_dim(space: Any) -> int:
    """Length of a flattened element: Box size, one-hot length of discrete choices, sums for dict and tuple."""
    return describe_space(space).flat_dim


def require_kind(
    space: Any,
    kinds: Collection[SpaceKind],
    *,
    role: Literal["observation", "action"],
    component: str,
    hint: str = "",
) -> SpaceInfo:
    """The facts about ``space``, provided that it is one of ``kinds``.

    Args:
        space: The space to look at.
        kinds: What ``component`` can handle.
        role: For the message.
        component: Who asks, for example the agent's name.
        hint: What would fit instead; a general one is made if empty.

    Raises:
        SpaceError: Another kind.
    """
    info = describe_space(space)
    if info.kind in kinds:
        return info
    if not hint:
        if info.kind in {"dict", "tuple"} and role == "observation":
            hint = f"Wrap the environment in gymnasium.wrappers.FlattenObservation (it gives Box({info.flat_dim},))."
        elif role == "action" and info.kind == "box":
            hint = "Choose an agent for continuous actions."
        elif role == "action" and info.kind == "discrete":
            hint = "Choose an agent for discrete actions."
        else:
            hint = "Choose an agent that supports it, or wrap the environment."
    raise SpaceError(
        f"{component} cannot use the {role} space {info.label}: it supports {', '.join(sorted(kinds))}. {hint}"
    )


class BoxScaler:
    """The affine map between ``[-1, 1]`` and a Box, per component.

    Components without two finite bounds have no scale: they pass through and are only clipped to the bound they have.
    Whatever finite numbers go in, what comes out of :meth:`to_box` lies in the space, also after rounding to its dtype.

    Args:
        space: A Box with a floating dtype.

    Attributes:
        info: The facts about the space.

    Raises:
        SpaceError: Not a Box, an integer Box, or ``low > high`` somewhere.
    """

    def __init__(self, space: Any) -> None:
        info = require_kind(space, {"box"}, role="action", component="BoxScaler")
        assert info.low is not None
        assert info.high is not None
        if not np.issubdtype(info.dtype, np.floating):
            raise SpaceError(
                f"actions of {info.label} are whole numbers ({info.dtype}), and there is no scale from real numbers to "
                "those. Wrap the environment (gymnasium.wrappers.TransformAction): let it take a MultiDiscrete, or a "
                "floating Box whose actions the wrapper rounds."
            )
        if not (info.low <= info.high).all():
            raise SpaceError(
                f"{info.label} has low > high in components {np.argwhere(info.low > info.high).tolist()}"
            )
        self.info, self.dtype = info, info.dtype
        # An unbounded component still has to be a finite number of the dtype.
        limits = np.finfo(info.dtype)
        self.low, self.high = np.maximum(info.low, limits.min), np.minimum(info.high, limits.max)
        self.bounded: NDArray[np.bool_] = np.isfinite(info.low) & np.isfinite(info.high)
        self._low, self._high = self.low.astype(np.float64), self.high.astype(np.float64)
        low = np.where(self.bounded, info.low, -1.0).astype(np.float64)
        high = np.where(self.bounded, info.high, 1.0).astype(np.float64)
        # Halves first: high - low of a float64 Box may overflow. Without two bounds: centre 0, half width 1.
        self._centre, self._half = low / 2 + high / 2, high / 2 - low / 2
        self._unit_low = np.where(self.bounded, -1.0, self._low)
        self._unit_high = np.where(self.bounded, 1.0, self._high)

    def to_box(self, unit: ArrayLike) -> NDArray[Any]:
        """``[..., *shape]`` in [-1, 1] (beyond is clipped) to elements of the Box; a fresh array of its dtype."""
        x = np.minimum(np.maximum(np.asarray(unit, dtype=np.float64), self._unit_low), self._unit_high)
        return self.clip(self._centre + self._half * x)

    def from_box(self, actions: ArrayLike) -> NDArray[np.float64]:
        """Elements of the Box to [-1, 1]; components without width become 0, unbounded ones pass through."""
        a = np.asarray(actions, dtype=np.float64)
        width = np.where(self._half > 0, self._half, 1.0)
        return np.where(self.bounded, np.clip((a - self._centre) / width, -1.0, 1.0), a)

    def constants(self) -> dict[str, NDArray[np.float64]]:
        """What :meth:`to_box` computes with, as copies of the Box's shape.

        ``clip(centre + half * clip(x, unit_low, unit_high), low, high)``.
        """
        named = {
            "unit_low": self._unit_low,
            "unit_high": self._unit_high,
            "centre": self._centre,
            "half": self._half,
            "low": self._low,
            "high": self._high,
        }
        return {name: np.array(np.broadcast_to(value, self._low.shape)) for name, value in named.items()}

    def clip(self, actions: ArrayLike) -> NDArray[Any]:
        """The nearest element of the Box, in its dtype. NaN stays NaN, so that it is found and not hidden."""
        a = np.asarray(actions, dtype=np.float64)
        # Rounding to the dtype comes last and crosses no bound: it is monotone, the bounds are numbers of the dtype.
        return np.minimum(np.maximum(a, self._low), self._high).astype(self.dtype)
