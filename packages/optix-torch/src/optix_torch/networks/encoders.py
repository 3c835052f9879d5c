"""How a network reads observations of any space: the plans of :mod:`optix_core.agents.inputs` as modules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from optix_core.agents.inputs import InputPlan, plan_input
from optix_core.errors import ConfigError
from optix_torch.networks.encoder_custom import custom_encoder
from optix_torch.networks.encoder_modules import Encoded, Flattened, NatureCNN, OneHot, PerKey


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
    plan = plan_input(space, encoder, owner=owner)
    try:
        return _input(plan, generator)
    except ConfigError as error:
        error.add_note(f"while {owner} made its encoder for observations of {plan.info.label}")
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


def _input(plan: InputPlan, generator: torch.Generator) -> ObservationInput:
    info = plan.info
    if plan.kind == "custom":
        module, width = custom_encoder(plan.space, info, plan.encoder, generator=generator)
        return ObservationInput(width, module, has_image=plan.has_image)
    if plan.kind == "per_key":
        parts = {name: _input(part, generator) for name, part in plan.parts}
        module = PerKey({name: part.module or Flattened() for name, part in parts.items()})
        return ObservationInput(sum(part.width for part in parts.values()), module, has_image=plan.has_image)
    if plan.kind == "one_hot":
        return ObservationInput(info.flat_dim, OneHot(*plan.choices()))
    if plan.kind == "image":
        module = NatureCNN(info.shape, generator=generator, scale=plan.scale)
        return ObservationInput(module.width, module, is_image=True, has_image=True)
    return ObservationInput(info.flat_dim, None if len(info.shape) == 1 else Flattened())
