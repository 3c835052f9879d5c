"""How a Keras network reads observations of any space: what :mod:`optix_core.agents.inputs` plans, as layers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from optix_core.agents.inputs import InputPlan, plan_input, probe
from optix_core.errors import ConfigError
from optix_core.rl.spaces import SpaceInfo
from optix_tf.networks.layers import Encoded, Flattened, NatureCNN, OneHot, PerKey


@dataclass(frozen=True, slots=True)
class ObservationInput:
    """How one network reads observations.

    Attributes:
        width: Number of features F.
        layer: Observations to features ``[B, F]``; None for a flat Box, whose rows are features already.
        is_image: The features are those of NatureCNN. Networks then go from them straight to their outputs, unless
            hidden layers are asked for.
        has_image: The observation is an image or has one among its parts: an encoder worth sharing.
    """

    width: int
    layer: Any
    is_image: bool = False
    has_image: bool = False


def observation_input(
    space: Any, encoder: Any = None, *, rng: np.random.Generator, owner: str = "the agent"
) -> ObservationInput:
    """The standard encoder for observations of ``space``, or the user's.

    Every call makes layers of its own; networks that shall share an encoder share one result.

    Args:
        space: A gymnasium space.
        encoder: None; ``"flatten"`` (images too are fed to the hidden layers as they are); a Keras layer or model,
            which is copied; a callable ``(observation_space) -> layer`` or ``(observation_space, *, seed) -> layer``;
            ``"package.module:callable"``; or, for Dict and Tuple spaces, a mapping from names of parts to any of
            these. Encoders get tensors of the parameters' type ``[B, *obs]``, a dict of them for Dict and Tuple, and
            give ``[B, F]``. Keras's initialisers draw from Python's global generator unless they are given a seed: a
            function that takes ``seed`` can hand it to them, and equal agents start equal.
        rng: Draws the weights and that seed; optix draws from nothing else.
        owner: For messages.

    Raises:
        SpaceError: A kind of space that optix does not know.
        ConfigError: The encoder cannot be used, or an image is too small for the standard one.
    """
    plan = plan_input(space, encoder, owner=owner)
    layer, width = _layer(plan, rng)
    flat = plan.kind == "flat" and len(plan.info.shape) == 1
    return ObservationInput(width, None if flat else layer, plan.is_image, plan.has_image)


def network(inputs: ObservationInput, trunk: Any) -> Any:
    """``trunk``, which reads ``[B, inputs.width]``, behind the encoder; ``trunk`` itself if there is none.

    Numbers that only need flattening go into the same ``keras.Sequential``, so that it is still a plain perceptron.
    """
    if inputs.layer is None:
        return trunk
    if isinstance(inputs.layer, Flattened):
        behind = keras.Sequential([inputs.layer, trunk])
        behind.built = True
        return behind
    return Encoded(inputs.layer, trunk)


def _layer(plan: InputPlan, rng: np.random.Generator) -> tuple[Any, int]:
    """The layer that reads what is planned, and how many features it gives."""
    if plan.kind == "custom":
        return _custom(plan, rng)
    if plan.kind == "per_key":
        made = [(name, _layer(part, rng)) for name, part in plan.parts]
        return PerKey({name: layer for name, (layer, _) in made}), sum(width for _, (_, width) in made)
    if plan.kind == "one_hot":
        layer = OneHot(*plan.choices())
        return layer, layer.width
    if plan.kind == "image":
        return NatureCNN(plan.info.shape, rng=rng, scale=plan.scale), NatureCNN.width
    return Flattened(plan.info.flat_dim), plan.info.flat_dim


def _custom(plan: InputPlan, rng: np.random.Generator) -> tuple[Any, int]:
    """The user's encoder, one of its own for every call."""
    encoder = plan.encoder
    if isinstance(encoder, keras.layers.Layer):
        layer = _copied(encoder, plan.info)
    elif callable(encoder):
        layer = _made(encoder, plan.space, rng)
    else:
        raise ConfigError(
            f"encoder is {encoder!r}; it must be a Keras layer or model, a callable that makes one from the "
            "observation space, its name as 'package.module:callable', or 'flatten'"
        )
    return layer, _features(layer, plan.info)


def _copied(encoder: Any, info: SpaceInfo) -> Any:
    """The same layers with the same weights, in memory of their own."""
    _features(encoder, info)  # makes the weights where that waits for the first call
    try:
        made = type(encoder).from_config(_with_seeds(encoder.get_config()))
        _features(made, info)
        made.set_weights(encoder.get_weights())
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"the encoder {type(encoder).__name__} cannot be copied, and each network has one of its own "
            f"({type(error).__name__}: {error}). Give a function that makes it from the observation space"
        ) from error
    return made


def _made(factory: Callable[..., Any], space: Any, rng: np.random.Generator) -> Any:
    name = str(getattr(factory, "__qualname__", None) or type(factory).__name__)
    try:
        layer = factory(space, seed=int(rng.integers(2**31))) if _takes_seed(factory) else factory(space)
    except Exception as error:
        raise ConfigError(
            f"encoder: {name} failed for {type(space).__name__} observations: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(layer, keras.layers.Layer):
        raise ConfigError(f"encoder: {name} returned {type(layer).__name__}, expected a Keras layer or model")
    return layer


def _takes_seed(factory: Callable[..., Any]) -> bool:
    try:
        return "seed" in inspect.signature(factory).parameters
    except (TypeError, ValueError):  # some callables written in C tell nothing
        return False


def _with_seeds(config: Any) -> Any:
    """A Keras configuration in which initialisers have a seed, so that none is drawn from a global generator."""
    if isinstance(config, dict):
        return {
            name: 0 if name == "seed" and part is None else _with_seeds(part) for name, part in config.items()
        }
    if isinstance(config, list | tuple):
        return type(config)(_with_seeds(part) for part in config)
    return config


def _features(layer: Any, info: SpaceInfo) -> int:
    """The width of what ``layer`` gives for observations of zeros (choices: the first of each)."""
    given = _tensors(probe(info), layer)
    try:
        features: Any = layer(given, training=False)
    except Exception as error:
        raise ConfigError(
            f"the encoder {type(layer).__name__} cannot read observations of {info.label}: it was given "
            f"{_described(given)} and raised {type(error).__name__}: {error}"
        ) from error
    if not tf.is_tensor(features):
        raise ConfigError(
            f"the encoder {type(layer).__name__} returned {type(features).__name__} for observations of "
            f"{info.label}, expected a tensor of features [B, F]"
        )
    rows = len(tf.nest.flatten(given)[0])
    if len(features.shape) != 2 or features.shape[0] != rows or not features.dtype.is_floating:
        raise ConfigError(
            f"the encoder {type(layer).__name__} gave {features.dtype.name} features of shape "
            f"{tuple(features.shape)} for {rows} observations of {info.label}; expected floating ones of shape "
            f"({rows}, F). A keras.layers.Flatten() as its last layer often helps"
        )
    return int(features.shape[1])


def _tensors(tree: Any, layer: Any) -> Any:
    dtype = getattr(layer, "compute_dtype", None) or "float32"
    return tf.nest.map_structure(lambda array: tf.constant(array, dtype), tree)


def _described(given: Any) -> str:
    if isinstance(given, dict):
        return "a dict of " + ", ".join(f"{name}: {_described(part)}" for name, part in given.items())
    return f"a {given.dtype.name} tensor of shape {tuple(given.shape)}"
