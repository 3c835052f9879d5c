"""How a network reads observations of any space.

==========================================  ===============================================================
space                                       features
==========================================  ===============================================================
Box of three axes, 36 pixels or more        NatureCNN, 512; divided by 255 where that is the upper bound
other Box, MultiBinary                      its numbers, flattened
Discrete, MultiDiscrete                     one-hot
Dict, Tuple                                 each part as above, one after another
anything, with ``encoder=``                 what the user's module gives
==========================================  ===============================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import nn

from optix_core.errors import ConfigError
from optix_core.rl.masking import is_masked
from optix_core.rl.spaces import SpaceInfo, describe_space
from optix_torch.networks.encoder_custom import custom_encoder
from optix_torch.networks.encoder_modules import (
    SMALLEST_IMAGE,
    Encoded,
    Flattened,
    NatureCNN,
    OneHot,
    PerKey,
    channels_first,
)

_MOST_CHANNELS = 32


@dataclass(frozen=True, slots=True)
class ObservationInput:
    """How one network reads observations.

    Attributes:
        width: Number of features F.
        module: Observations to features ``[B, F]``; None for a flat Box, whose rows are features already.
        is_image: The features are those of NatureCNN. Networks then go from them straight to their outputs, unless
            hidden layers are asked for.
        has_image: The observation is an image or has one among its parts: an encoder worth sharing.
    """

    width: int
    module: nn.Module | None
    is_image: bool = False
    has_image: bool = False


def observation_input(
    space: Any, encoder: Any = None, *, generator: torch.Generator, owner: str = "the agent"
) -> ObservationInput:
    """The standard encoder for observations of ``space``, or the user's.

    Every call makes modules of its own; networks that shall share an encoder share one result. A Dict space of
    exactly ``observation`` and ``action_mask`` is read as its ``observation``: masks are no input of networks.

    Args:
        space: A gymnasium space.
        encoder: None; ``"flatten"`` (images too are fed to the hidden layers as they are); an ``nn.Module``; a callable
            ``(observation_space) -> nn.Module``; ``"package.module:callable"``; or, for Dict and Tuple spaces, a
            mapping from names of parts to any of these. Encoders get tensors of the parameters' type ``[B, *obs]``,
            a dict of them for Dict and Tuple, and give ``[B, F]``.
        generator: Draws the weights; nothing else is drawn from.
        owner: For messages.

    Raises:
        SpaceError: A kind of space that optix does not know.
        ConfigError: The encoder cannot be used, or an image is too small for the standard one.
    """
    space = unmasked(space)
    try:
        return _input(space, describe_space(space), encoder, generator)
    except ConfigError as error:
        error.add_note(f"while {owner} made its encoder for observations of {describe_space(space).label}")
        raise


def network(inputs: ObservationInput, trunk: nn.Module) -> nn.Module:
    """``trunk``, which reads ``[B, inputs.width]``, behind the encoder; ``trunk`` itself if there is none.

    Numbers that only need flattening go into the same ``nn.Sequential``, so that it is still a plain perceptron.
    """
    if inputs.module is None:
        return trunk
    if isinstance(inputs.module, Flattened):
        return nn.Sequential(inputs.module, trunk)
    return Encoded(inputs.module, trunk)


def hidden_widths(
    inputs: ObservationInput, hidden: Sequence[int] | None, default: Sequence[int]
) -> tuple[int, ...]:
    """``hidden`` if it is given; otherwise ``default``, but none behind the 512 features of an image."""
    if hidden is None:
        return () if inputs.is_image else tuple(default)
    return tuple(hidden)


def unmasked(space: Any) -> Any:
    """``space`` without its action masks, if it is a Dict of an observation and a mask."""
    if isinstance(space, spaces.Dict) and is_masked(describe_space(space).dtype):
        return space["observation"]
    return space


def _input(space: Any, info: SpaceInfo, encoder: Any, generator: torch.Generator) -> ObservationInput:
    if isinstance(encoder, Mapping):
        return _per_key(space, info, dict(encoder), generator)
    if encoder is not None and encoder != "flatten":
        module, width = custom_encoder(space, info, encoder, generator=generator)
        return ObservationInput(width, module, has_image=_has_image(info))
    if info.fields:
        return _per_key(space, info, dict.fromkeys(dict(info.fields), encoder), generator)
    if info.kind in {"discrete", "multi_discrete"}:
        nvec = np.asarray(info.n if info.nvec is None else info.nvec, np.int64)
        return ObservationInput(info.flat_dim, OneHot(nvec, np.asarray(info.low, np.int64)))
    if encoder is None and _is_image(info):
        scale = 1.0 / 255.0 if _is_bytes(info) else 1.0
        module = NatureCNN(info.shape, generator=generator, scale=scale)
        return ObservationInput(module.width, module, is_image=True, has_image=True)
    return ObservationInput(info.flat_dim, None if len(info.shape) == 1 else Flattened())


def _per_key(
    space: Any, info: SpaceInfo, encoders: dict[str, Any], generator: torch.Generator
) -> ObservationInput:
    """Each part by itself; ``encoders`` may leave parts out, which get the standard one."""
    unknown = sorted(set(encoders) - set(dict(info.fields)))
    if unknown:
        raise ConfigError(
            f"encoder names the parts {unknown}, but observations of {info.label} have "
            f"{sorted(dict(info.fields)) or 'no parts'}"
        )
    parts = {
        name: _input(_part(space, name), part, encoders.get(name), generator) for name, part in info.fields
    }
    module = PerKey({name: part.module or Flattened() for name, part in parts.items()})
    width = sum(part.width for part in parts.values())
    return ObservationInput(width, module, has_image=any(part.has_image for part in parts.values()))


def _part(space: Any, name: str) -> Any:
    return space[int(name)] if isinstance(space, spaces.Tuple) else space[name]


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
