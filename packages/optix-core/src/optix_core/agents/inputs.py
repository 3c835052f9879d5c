"""How a network reads observations of any space, as a plan that each framework builds with its own layers.

==========================================  ===============================================================
space                                       features
==========================================  ===============================================================
Box of three axes, 36 pixels or more        NatureCNN, 512; divided by 255 where that is the upper bound
other Box, MultiBinary                      its numbers, flattened
Discrete, MultiDiscrete                     one-hot
Dict, Tuple                                 each part as above, one after another
anything, with ``encoder=``                 what the user's encoder gives
==========================================  ===============================================================
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from optix_core.errors import ConfigError
from optix_core.rl.masking import OBSERVATION, is_masked
from optix_core.rl.spaces import SpaceInfo, describe_space

SMALLEST_IMAGE = 36
"""Height and width that the three convolutions of NatureCNN need."""
IMAGE_FEATURES = 512
"""Units of NatureCNN's last layer."""
NATURE_KERNELS = ((32, 8, 4), (64, 4, 2), (64, 3, 1))
"""Filters, size and stride of the convolutions of Mnih et al. 2015 (doi:10.1038/nature14236, Methods)."""

_MOST_CHANNELS = 32


class Features(Protocol):
    """What a plan, and what a framework makes of it, tell alike."""

    @property
    def is_image(self) -> bool:
        """The features are those of NatureCNN."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class InputPlan:
    """How one network, or one part of it, reads observations.

    Attributes:
        kind: ``"flat"``: the numbers themselves; ``"one_hot"``; ``"image"``: NatureCNN; ``"per_key"``: a plan for each
            part, features one after another; ``"custom"``: the user's encoder.
        space: What is read, without action masks.
        info: The facts about it.
        parts: Plans by the name of the part, in the order of their features; ``per_key`` only.
        encoder: As the user gave it, a text already imported; ``custom`` only.
    """

    kind: Literal["flat", "one_hot", "image", "per_key", "custom"]
    space: Any
    info: SpaceInfo
    parts: tuple[tuple[str, InputPlan], ...] = ()
    encoder: Any = None

    @property
    def is_image(self) -> bool:
        """The features are those of NatureCNN: networks go from them straight to their outputs."""
        return self.kind == "image"

    @property
    def has_image(self) -> bool:
        """The observation is an image or has one among its parts: an encoder worth sharing."""
        if self.kind == "custom":
            return _has_image(self.info)
        return self.is_image or any(part.has_image for _, part in self.parts)

    @property
    def scale(self) -> float:
        """What pixels are multiplied by."""
        return 1.0 / 255.0 if _is_bytes(self.info) else 1.0

    def choices(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of each choice, flattened: how many there are, and the smallest; ``one_hot`` only."""
        sizes = np.asarray(self.info.n if self.info.nvec is None else self.info.nvec, np.int64)
        return sizes.reshape(-1), np.asarray(self.info.low, np.int64).reshape(-1)


def plan_input(space: Any, encoder: Any = None, *, owner: str = "the agent") -> InputPlan:
    """The standard way to read observations of ``space``, or the user's.

    A Dict space of exactly ``observation`` and ``action_mask`` is read as its ``observation``: masks are no input of
    networks.

    Args:
        space: A gymnasium space.
        encoder: None; ``"flatten"`` (images too are read as they are); an encoder as the framework knows them;
            ``"package.module:callable"``; or, for Dict and Tuple spaces, a mapping from names of parts to any of these.
        owner: For messages.

    Raises:
        SpaceError: A kind of space that optix does not know.
        ConfigError: A part is named that there is not, a text cannot be imported, or an image is too small.
    """
    space = unmasked(space)
    try:
        return _plan(space, describe_space(space), encoder)
    except ConfigError as error:
        error.add_note(f"while {owner} made its encoder for observations of {describe_space(space).label}")
        raise


def hidden_widths(plan: Features, hidden: Sequence[int] | None, default: Sequence[int]) -> tuple[int, ...]:
    """``hidden`` if it is given; otherwise ``default``, but none behind the features of an image."""
    if hidden is None:
        return () if plan.is_image else tuple(default)
    return tuple(hidden)


def require_architecture(
    hidden_sizes: object, activation: str, *, known: Sequence[str], owner: str
) -> tuple[int, ...]:
    """The hidden widths as a tuple, provided that networks can be made with them.

    Args:
        hidden_sizes: One number, or several.
        activation: Its name.
        known: Names that activations may have.
        owner: For messages.

    Raises:
        ConfigError: They are not positive whole numbers, or the activation is not known.
    """
    sizes: tuple[Any, ...] = (
        tuple(cast("list[Any]", hidden_sizes)) if isinstance(hidden_sizes, list | tuple) else (hidden_sizes,)
    )
    if not all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in sizes):
        raise ConfigError(
            f"{owner}: hidden_sizes is {hidden_sizes!r}; expected positive whole numbers, one per hidden "
            "layer, like (64, 64)"
        )
    if activation not in known:
        raise ConfigError(f"{owner}: activation is {activation!r}; it must be one of {', '.join(known)}")
    return sizes


def unmasked(space: Any) -> Any:
    """``space`` without its action masks, if it is a Dict of an observation and a mask."""
    if isinstance(space, spaces.Dict) and is_masked(describe_space(space).dtype):
        return cast("Any", space)[OBSERVATION]
    return cast("Any", space)


def channels_first(shape: Sequence[int]) -> tuple[bool, tuple[int, int, int]]:
    """Whether the channels of an image come last, and its shape with the channels first."""
    first, middle, last = (int(size) for size in shape)
    return (True, (last, first, middle)) if last <= first else (False, (first, middle, last))


def imported(name: str) -> Any:
    """What ``"package.module:callable"`` names.

    Raises:
        ConfigError: It does not read like that, or cannot be imported.
    """
    place, colon, attribute = name.partition(":")
    if not (colon and place and attribute):
        raise ConfigError(f"encoder is {name!r}; a text must read 'package.module:callable', or be 'flatten'")
    try:
        found: Any = importlib.import_module(place)
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception as error:
        raise ConfigError(f"encoder {name!r} cannot be imported: {type(error).__name__}: {error}") from error
    return found


def probe(info: SpaceInfo, rows: int = 2) -> Any:
    """Observations of zeros (choices: the first of each), to see what an encoder gives; parts are a dict."""
    if info.fields:
        return {name: probe(part, rows) for name, part in info.fields}
    lowest: NDArray[Any] = np.zeros(info.shape) if info.kind == "box" else np.asarray(info.low)
    return np.broadcast_to(lowest, (rows, *info.shape)).astype(np.float32)


def _plan(space: Any, info: SpaceInfo, encoder: Any) -> InputPlan:
    if isinstance(encoder, Mapping):
        return _per_key(space, info, dict(cast("Mapping[str, Any]", encoder)))
    if encoder is not None and encoder != "flatten":
        found = imported(encoder) if isinstance(encoder, str) else encoder
        return InputPlan(kind="custom", space=space, info=info, encoder=found)
    if info.fields:
        return _per_key(space, info, dict.fromkeys(dict(info.fields), encoder))
    if info.kind in {"discrete", "multi_discrete"}:
        return InputPlan(kind="one_hot", space=space, info=info)
    if encoder is None and _is_image(info):
        _, (_, height, width) = channels_first(info.shape)
        if min(height, width) < SMALLEST_IMAGE:
            raise ConfigError(
                f"images of {height} x {width} are too small for NatureCNN, whose convolutions need at least "
                f"{SMALLEST_IMAGE} x {SMALLEST_IMAGE}. Enlarge them (gymnasium.wrappers.ResizeObservation), give "
                "encoder='flatten' to feed the pixels to the hidden layers, or give a module of your own as encoder"
            )
        return InputPlan(kind="image", space=space, info=info)
    return InputPlan(kind="flat", space=space, info=info)


def _per_key(space: Any, info: SpaceInfo, encoders: dict[str, Any]) -> InputPlan:
    """Each part by itself; ``encoders`` may leave parts out, which get the standard one."""
    unknown = sorted(set(encoders) - set(dict(info.fields)))
    if unknown:
        raise ConfigError(
            f"encoder names the parts {unknown}, but observations of {info.label} have "
            f"{sorted(dict(info.fields)) or 'no parts'}"
        )
    parts = tuple((name, _plan(_part(space, name), part, encoders.get(name))) for name, part in info.fields)
    return InputPlan(kind="per_key", space=space, info=info, parts=parts)


def _part(space: Any, name: str) -> Any:
    parts: Any = space
    return parts[int(name)] if isinstance(space, spaces.Tuple) else parts[name]


def _is_bytes(info: SpaceInfo) -> bool:
    """Whether numbers run from 0 to 255."""
    return bool(np.all(info.low == 0) and np.all(info.high == 255))


def _has_image(info: SpaceInfo) -> bool:
    return _is_image(info) or any(_has_image(part) for _, part in info.fields)


def _is_image(info: SpaceInfo) -> bool:
    """A Box of three axes that are channels, height and width.

    Bytes are taken for an image whatever its size, so that one that is too small is refused with what to do, instead of
    being flattened without a word. Other numbers may be anything if they are few.
    """
    if len(info.shape) != 3 or info.dtype.kind not in "fu":
        return False
    if info.dtype == np.uint8 and _is_bytes(info):
        return True
    channels, height, width = channels_first(info.shape)[1]
    return min(height, width) >= SMALLEST_IMAGE and channels <= _MOST_CHANNELS
