"""How a network reads observations of any space: the plans of :mod:`optix_core.agents.inputs` as pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

from optix_core.agents.inputs import InputPlan, hidden_widths, plan_input, probe, unmasked
from optix_core.errors import ConfigError
from optix_jax.networks.encoder_networks import flattened, nature_cnn, one_hot, per_key
from optix_jax.networks.flax_modules import network_of
from optix_jax.networks.network import Network, encoded

__all__ = ["ObservationInput", "hidden_widths", "network", "observation_input", "unmasked"]


@dataclass(frozen=True, slots=True)
class ObservationInput:
    """How one network reads observations.

    Attributes:
        width: Number of features F.
        encoder: Observations to features ``[B, F]``; None where perceptrons only have to flatten them.
        is_image: The features are those of NatureCNN. Networks then go from them straight to their outputs, unless
            hidden layers are asked for.
        has_image: The observation is an image or has one among its parts: an encoder worth sharing.
    """

    width: int
    encoder: Network | None
    is_image: bool = False
    has_image: bool = False


def observation_input(
    space: Any, encoder: Any = None, *, rng: np.random.Generator, owner: str = "the agent"
) -> ObservationInput:
    """The standard encoder for observations of ``space``, or the user's.

    Every call draws weights of its own; networks that shall share an encoder share one result.

    Args:
        space: A gymnasium space.
        encoder: None; ``"flatten"`` (images too are fed to the hidden layers as they are); a ``flax.nnx`` or
            ``flax.linen`` module; a callable ``(observation_space) -> module``; ``"package.module:callable"``; or, for
            Dict and Tuple spaces, a mapping from names of parts to any of these. Modules get arrays ``[B, *obs]``, a
            dict of them for Dict and Tuple, and give ``[B, F]``.
        rng: Draws the weights.
        owner: For messages.

    Raises:
        SpaceError: A kind of space that optix does not know.
        ConfigError: The encoder cannot be used, or an image is too small for the standard one.
    """
    plan = plan_input(space, encoder, owner=owner)
    try:
        return _input(plan, rng)
    except ConfigError as error:
        error.add_note(f"while {owner} made its encoder for observations of {plan.info.label}")
        raise


def network(inputs: ObservationInput, trunk: Network) -> Network:
    """``trunk``, which reads ``[B, inputs.width]``, behind the encoder; ``trunk`` itself if there is none."""
    return trunk if inputs.encoder is None else encoded(inputs.encoder, trunk)


def _input(plan: InputPlan, rng: np.random.Generator) -> ObservationInput:
    info = plan.info
    if plan.kind == "custom":
        found, width = _custom(plan, rng)
        return ObservationInput(width, found, has_image=plan.has_image)
    if plan.kind == "per_key":
        parts = {name: _input(part, rng) for name, part in plan.parts}
        found = per_key({name: part.encoder or flattened() for name, part in parts.items()})
        return ObservationInput(sum(part.width for part in parts.values()), found, has_image=plan.has_image)
    if plan.kind == "one_hot":
        return ObservationInput(info.flat_dim, one_hot(*plan.choices()))
    if plan.kind == "image":
        found, width = nature_cnn(info.shape, plan.scale, rng)
        return ObservationInput(width, found, is_image=True, has_image=True)
    return ObservationInput(info.flat_dim, None)


def _custom(plan: InputPlan, rng: np.random.Generator) -> tuple[Network, int]:
    """What the user's encoder is, and the number of its features."""
    module = plan.encoder
    if isinstance(module, type) or not isinstance(module, Network | nnx.Module | linen.Module):
        if not callable(module):
            raise ConfigError(
                f"encoder is {module!r}; it must be a flax module, a callable that makes one from the observation "
                "space, its name as 'package.module:callable', or 'flatten'"
            )
        try:
            module = module(plan.space)
        except Exception as error:
            raise ConfigError(
                f"encoder: {getattr(plan.encoder, '__qualname__', plan.encoder)!s} failed for "
                f"{type(plan.space).__name__} observations: {type(error).__name__}: {error}"
            ) from error
    example = probe(plan.info)
    found = network_of(module, example, rng=rng, what="the encoder")
    try:
        features: Any = jax.eval_shape(found.apply, found.params, example)
    except Exception as error:
        raise ConfigError(
            f"the encoder {type(module).__name__} cannot read observations of {plan.info.label}: it was given float32 "
            f"arrays of shapes {jax.tree.map(np.shape, example)} and raised {type(error).__name__}: {error}"
        ) from error
    shape, dtype = getattr(features, "shape", None), getattr(features, "dtype", np.dtype(object))
    if shape is None or len(shape) != 2 or shape[0] != 2 or not jnp.issubdtype(dtype, jnp.floating):
        raise ConfigError(
            f"the encoder {type(module).__name__} gave {dtype} features of shape {shape} for 2 observations of "
            f"{plan.info.label}; expected floating ones of shape (2, F). A reshape to (len(x), -1) at its end often "
            "helps"
        )
    return found, int(shape[1])
