"""The standard networks, how they are initialised, and how to tell that a model is one of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from optix_core.acting import MLPSpec
from optix_core.agents.initialising import orthogonal
from optix_tf.networks.layers import Flattened

ACTIVATIONS: dict[str, Any] = {
    "tanh": keras.activations.tanh,
    "relu": keras.activations.relu,
    "elu": keras.activations.elu,
    "sigmoid": keras.activations.sigmoid,
}
"""What ``activation=`` may be; all of them have a mirror in ``optix_core.acting``."""

FUNCTIONS: dict[str, Any] = {
    "tanh": tf.tanh,
    "relu": tf.nn.relu,
    "elu": tf.nn.elu,
    "sigmoid": tf.sigmoid,
    "linear": lambda x: x,
}
"""The same by name, as TensorFlow has them."""


def dense(
    n_in: int,
    n_out: int,
    activation: str | None,
    *,
    gain: float,
    rng: np.random.Generator,
    dtype: str = "float32",
) -> keras.layers.Dense:
    """A layer with orthogonal weights and biases of 0; draws come from ``rng`` only.

    Weights are drawn ``[out, in]``, as other frameworks have them, and turned into the ``[in, out]`` of Keras.
    """
    # "zeros": any other initialiser would draw from global generators
    layer: Any = keras.layers.Dense(n_out, activation=activation, kernel_initializer="zeros", dtype=dtype)
    layer.build((None, n_in))
    layer.kernel.assign(orthogonal((n_out, n_in), gain, rng).T)
    return layer


def mlp(
    sizes: Sequence[int],
    activation: str,
    *,
    output_gain: float,
    rng: np.random.Generator,
    dtype: str = "float32",
) -> keras.Sequential:
    """A perceptron of widths ``sizes``, orthogonally initialised (Saxe et al. 2014, arXiv:1312.6120).

    Hidden layers get the gain sqrt(2), the output layer ``output_gain``, biases 0; the usual choice for PPO
    (Andrychowicz et al. 2021, arXiv:2006.05990, section 3.2). Draws come from ``rng`` only, layer by layer.
    """
    last = len(sizes) - 2
    layers = [
        dense(
            n_in,
            n_out,
            None if i == last else activation,
            gain=output_gain if i == last else math.sqrt(2.0),
            rng=rng,
            dtype=dtype,
        )
        for i, (n_in, n_out) in enumerate(pairwise(sizes))
    ]
    return keras.Sequential([keras.Input((sizes[0],), dtype=dtype), *layers])


class GaussianActor(keras.Model):
    """A network for the means, and logarithms of standard deviations that are the same for all observations.

    Args:
        mean: ``[B, *obs]`` to ``[B, A]``; built.
        action_dim: A.
        initial_log_std: What every logarithm starts at.
    """

    def __init__(self, mean: Any, action_dim: int, initial_log_std: float = 0.0) -> None:
        held = mean.trainable_variables
        super().__init__(dtype=str(held[0].dtype) if held else None)
        self.mean = mean
        self.log_std = self.add_weight(
            shape=(action_dim,),
            initializer="zeros",
            name="log_std",
        )
        self.log_std.assign(np.full(action_dim, initial_log_std))
        self.built = True

    def call(self, observations: Any, training: bool | None = None) -> Any:
        """Means followed by logarithms of standard deviations, ``[B, 2 A]``."""
        mean = self.mean(observations, training=training)
        return tf.concat([mean, tf.broadcast_to(tf.convert_to_tensor(self.log_std), tf.shape(mean))], axis=-1)


def standard_mlp(model: Any) -> tuple[MLPSpec, list[Any]] | None:
    """The shape of ``model`` and its kernels and biases in the order of ``MLPSpec.layout``; None if it is not plain.

    Plain means: a ``keras.Sequential`` (perhaps of such) of ``Dense`` layers with bias, each followed by at most one
    activation of :data:`ACTIVATIONS`, all trainable and of one type, without regularisers or constraints; a layer that
    flattens observations may come first. Kernels lie in Keras as ``[in, out]``, in the layout as ``[out, in]``.
    """
    sizes: list[int] = []
    activations: list[str] = []
    variables: list[Any] = []
    for layer in _inside(model):
        kind = type(layer)
        if kind in {keras.Sequential, keras.layers.InputLayer}:
            continue
        if not sizes and kind in {keras.layers.Flatten, Flattened}:
            continue  # the mirror flattens whatever it gets
        if kind is keras.layers.Dense:
            name = _name(layer.activation)
            if (
                not layer.built
                or name is None
                or not _plain(layer)
                or (sizes and sizes[-1] != layer.kernel.shape[0])
            ):
                return None
            n_in, n_out = (int(size) for size in layer.kernel.shape)
            sizes += [n_out] if sizes else [n_in, n_out]
            activations.append(name)
            variables += [layer.kernel, layer.bias]
        elif kind in {keras.layers.Activation, keras.layers.ReLU, keras.layers.ELU} and activations:
            name = _activation(layer)
            if name is None or activations[-1] != "linear":
                return None
            activations[-1] = name
        else:
            return None
    if not sizes or len({str(v.dtype) for v in variables}) != 1:
        return None
    return MLPSpec(tuple(sizes), tuple(activations)), variables


def forward(spec: MLPSpec, parts: Sequence[Any], observations: Any) -> Any:
    """What the perceptron computes from observations ``[B, ...]``: ``[B, out]``.

    Args:
        spec: Its shape.
        parts: Weights ``[out, in]`` and biases, layer by layer.
        observations: Tensors; flattened after the first axis.
    """
    x = observations if len(observations.shape) == 2 else tf.reshape(observations, (-1, spec.sizes[0]))
    for i, name in enumerate(spec.activations):
        x = FUNCTIONS[name](tf.matmul(x, parts[2 * i], transpose_b=True) + parts[2 * i + 1])
    return x


def _inside(model: Any) -> list[Any]:
    """``model`` and, if it is a ``keras.Sequential``, everything in it, in the order of execution."""
    found = [model]
    if type(model) is keras.Sequential:
        for layer in model.layers:
            found += _inside(layer)
    return found


def _plain(layer: Any) -> bool:
    """Whether a Dense layer is nothing but ``act(x W + b)``."""
    extras = (
        layer.kernel_regularizer,
        layer.bias_regularizer,
        layer.activity_regularizer,
        layer.kernel_constraint,
        layer.bias_constraint,
        layer.quantization_mode,
        layer.lora_rank,
    )
    same = str(layer.compute_dtype) == str(layer.variable_dtype)
    return bool(layer.use_bias and layer.trainable and same) and not any(extras)


def _name(function: Any) -> str | None:
    """The name of an activation function that the mirror knows; None for any other."""
    if function is keras.activations.linear:
        return "linear"
    return next((name for name, known in ACTIVATIONS.items() if known is function), None)


def _activation(layer: Any) -> str | None:
    if isinstance(layer, keras.layers.Activation):
        return _name(layer.activation)
    if isinstance(layer, keras.layers.ELU):
        return "elu" if float(layer.alpha) == 1.0 else None
    plain = layer.max_value is None and not layer.negative_slope and not layer.threshold
    return "relu" if plain else None
