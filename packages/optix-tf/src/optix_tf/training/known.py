"""Which models XLA is known to compile."""

from __future__ import annotations

from typing import Any

import keras

from optix_tf.networks.layers import Encoded, Flattened, NatureCNN, OneHot, PerKey
from optix_tf.networks.mlp import GaussianActor

_KNOWN: frozenset[type] = frozenset({
    keras.Sequential, keras.layers.InputLayer, keras.layers.Dense, keras.layers.Activation, keras.layers.ReLU,
    keras.layers.LeakyReLU, keras.layers.ELU, keras.layers.Flatten, keras.layers.Reshape, keras.layers.Conv1D,
    keras.layers.Conv2D, keras.layers.LayerNormalization, keras.layers.BatchNormalization, keras.layers.Dropout,
    keras.layers.Rescaling, keras.layers.Identity, keras.layers.Concatenate, Encoded, Flattened, NatureCNN, OneHot,
    PerKey, GaussianActor,
})  # fmt: skip


def compiles(model: Any) -> bool:
    """Whether every layer in ``model`` is one that XLA compiles; layers of the user's own may hold anything."""
    return all(type(layer) in _KNOWN or _is_functional(layer) for layer in layers_in(model))


def layers_in(model: Any) -> list[Any]:
    """The model itself and the layers inside of it, in the order in which they were given to it."""
    found = [model]
    for layer in getattr(model, "_layers", []):
        found += layers_in(layer)
    return found


def _is_functional(layer: Any) -> bool:
    """Whether it is a graph of layers, made by ``keras.Model(inputs, outputs)``."""
    return type(layer).__name__ == "Functional" and type(layer).__module__.startswith("keras.")
