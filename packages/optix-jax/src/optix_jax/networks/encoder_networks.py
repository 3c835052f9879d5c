"""Networks that turn observations of every kind into features ``[B, F]``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

from optix_core.agents import describing
from optix_core.agents.initialising import orthogonal
from optix_core.agents.inputs import IMAGE_FEATURES, NATURE_KERNELS, channels_first
from optix_jax.networks.network import Network, Params, tree_network

if TYPE_CHECKING:
    from optix_core.export import GraphBuilder


def flattened() -> Network:
    """``[B, *shape]`` to ``[B, F]`` float32; also ``[B]`` to ``[B, 1]``."""

    def apply(params: Params, observations: jax.Array) -> jax.Array:
        del params
        return observations.reshape(len(observations), -1).astype(jnp.float32)

    return tree_network(apply, {}, describe=lambda b, _, x: b.add("flatten", x))


def one_hot(sizes: NDArray[np.int64], low: NDArray[np.int64]) -> Network:
    """Choices ``[B, *shape]`` as rows ``[B, sum(sizes)]`` of zeros with a one for each choice that was made.

    Args:
        sizes: Numbers of choices, one for each of the flattened shape.
        low: The smallest value of each.
    """
    starts = np.cumsum(sizes) - sizes - low
    width = int(sizes.sum())

    def apply(params: Params, choices: jax.Array) -> jax.Array:
        del params
        rows = choices.reshape(len(choices), -1).astype(jnp.int32) + starts.astype(np.int32)
        return (rows[:, :, None] == jnp.arange(width, dtype=jnp.int32)).any(axis=1).astype(jnp.float32)

    def describe(b: GraphBuilder, params: Params, x: Any) -> str:
        del params
        return b.add("one_hot", x, n=sizes, start=low)

    return tree_network(apply, {}, describe=describe)


def nature_cnn(shape: Sequence[int], scale: float, rng: np.random.Generator) -> tuple[Network, int]:
    """The convolutional network of Mnih et al. 2015 (doi:10.1038/nature14236, Methods), and the number of its features.

    Convolutions of 32 kernels of 8x8 at stride 4, 64 of 4x4 at stride 2 and 64 of 3x3 at stride 1, a layer of 512
    units, a rectifier after each. Weights are orthogonal with gain sqrt(2), as in PPO's usual implementations.

    Args:
        shape: Of one image, channels first or last; the axis of the channels is the shorter one of first and last.
        scale: What pixels are multiplied by.
        rng: Draws the weights.
    """
    channels_last, (n_in, height, width) = channels_first(shape)
    params: dict[str, Any] = {}
    for i, (n_out, size, _) in enumerate(NATURE_KERNELS):
        params[f"{i}"] = _layer((n_out, n_in, size, size), rng)
        stride = NATURE_KERNELS[i][2]
        height, width, n_in = (height - size) // stride + 1, (width - size) // stride + 1, n_out
    params["head"] = _layer((IMAGE_FEATURES, n_in * height * width), rng)

    def apply(params: Params, images: jax.Array) -> jax.Array:
        x = images.astype(params["head"]["weight"].dtype)
        if channels_last:
            x = x.transpose(0, 3, 1, 2)
        if scale != 1.0:
            x *= scale
        for i, (_, _, stride) in enumerate(NATURE_KERNELS):
            layer = params[f"{i}"]
            x = lax.conv_general_dilated(x, layer["weight"], (stride, stride), "VALID")
            x = jax.nn.relu(x + layer["bias"][:, None, None])
        head = params["head"]
        return jax.nn.relu(x.reshape(len(x), -1) @ head["weight"].T + head["bias"])

    def describe(b: GraphBuilder, params: Params, x: Any) -> str:
        if channels_last:
            x = b.add("channels_first", x)
        if scale != 1.0:
            x = b.add("scale", x, divisor=1.0 / scale)
        for i, (_, _, stride) in enumerate(NATURE_KERNELS):
            weights = {name: np.asarray(array, np.float32) for name, array in params[f"{i}"].items()}
            x = b.add("conv2d", x, weights=weights, stride=[stride, stride], padding=[0, 0])
            x = b.add("activation", x, name="relu")
        head = params["head"]
        x = describing.linear(b, b.add("flatten", x), np.asarray(head["weight"]), np.asarray(head["bias"]))
        return b.add("activation", x, name="relu")

    return tree_network(apply, params, describe=describe), IMAGE_FEATURES


def per_key(parts: Mapping[str, Network]) -> Network:
    """One encoder for each part of a Dict or Tuple observation; their features one after another."""

    def apply(params: Params, observations: Mapping[str, Any]) -> jax.Array:
        features = [part.apply(params[name], observations[name]) for name, part in parts.items()]
        return features[0] if len(features) == 1 else jnp.concatenate(features, axis=1)

    def describe(b: GraphBuilder, params: Params, x: Any) -> str:
        features: list[str] = []
        for name, part in parts.items():
            assert part.describe is not None
            features.append(part.describe(b, params[name], x[name]))
        return features[0] if len(features) == 1 else b.add("concat", *features)

    known = all(part.describe is not None for part in parts.values())
    return tree_network(
        apply, {name: part.params for name, part in parts.items()}, describe=describe if known else None
    )


def _layer(shape: Sequence[int], rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    return {
        "weight": orthogonal(shape, math.sqrt(2.0), rng),
        "bias": np.zeros(shape[0], np.float32),
    }
