"""Keras models as operations of a :class:`~optix_core.export.PolicyGraph`, so that policies can leave the framework.

Known are the layers that optix-tf makes and the common ones of ``keras.layers`` inside ``keras.Sequential``. A layer of
another type may describe itself: ``describe(self, builder, x) -> str``, with ``x`` and the result names of values.

Keras keeps the channels of images last, the graph first: while a description passes through convolutions it remembers
the shape of the planes, and a dense layer that reads them flattened has its columns reordered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from optix_core.agents.describing import Value, linear
from optix_core.errors import ConfigError
from optix_core.export import GraphBuilder
from optix_tf.arrays import single
from optix_tf.networks.layers import Encoded, Flattened, NatureCNN, OneHot, PerKey, columns_first
from optix_tf.networks.mlp import GaussianActor
from optix_tf.training.known import layers_in

Planes = tuple[int, int, int] | None
"""Height, width and channels of images that lie flattened, or about to be, in the order that Keras has; else None."""

_ACTIVATIONS: Mapping[Any, str] = {
    keras.activations.tanh: "tanh",
    keras.activations.relu: "relu",
    keras.activations.elu: "elu",
    keras.activations.sigmoid: "sigmoid",
    keras.activations.silu: "silu",
    keras.activations.softplus: "softplus",
}


def last_width(model: Any) -> int:
    """How many outputs the last dense layer of ``model`` has.

    Raises:
        ConfigError: It has none.
    """
    widths = [int(layer.units) for layer in layers_in(model) if isinstance(layer, keras.layers.Dense)]
    if not widths:
        raise ConfigError("the number of actions is not known: pass action_space= to the agent")
    return widths[-1]


def describe(b: GraphBuilder, model: Any, x: Value) -> str:
    """Append what ``model`` computes from the value ``x``; the name of its result.

    Raises:
        ConfigError: A layer that is not known and does not describe itself.
    """
    return _described(b, model, x, None)[0]


def _described(b: GraphBuilder, layer: Any, x: Value, planes: Planes) -> tuple[str, Planes]:
    own = getattr(layer, "describe", None)
    if callable(own):
        return str(own(b, x)), None
    known = _KNOWN.get(type(layer))
    if known is None:
        raise _unknown(layer, "")
    return known(b, layer, x, planes)


def _sequential(b: GraphBuilder, model: Any, x: Value, planes: Planes) -> tuple[str, Planes]:
    for layer in model.layers:
        x, planes = _described(b, layer, x, planes)
    return x, planes


def _dense(b: GraphBuilder, layer: Any, x: Value, planes: Planes) -> tuple[str, Planes]:
    weight = single(layer.kernel).T
    if planes is not None:
        weight = columns_first(weight, planes)
    x = linear(b, x, weight, single(layer.bias) if layer.use_bias else None)
    return _activated(b, layer, x), None


def _conv2d(b: GraphBuilder, layer: Any, x: Value, planes: Planes) -> tuple[str, Planes]:
    plain = layer.groups == 1 and tuple(layer.dilation_rate) == (1, 1) and layer.padding == "valid"
    if not plain or layer.data_format != "channels_last":
        raise _unknown(layer, "with groups, dilation, padding or the channels first")
    if planes is None:
        x = b.add("channels_first", x)
    kernel = single(layer.kernel).transpose(3, 2, 0, 1)
    bias = single(layer.bias) if layer.use_bias else np.zeros(len(kernel), np.float32)
    x = b.add(
        "conv2d", x, weights={"weight": kernel, "bias": bias}, stride=list(layer.strides), padding=[0, 0]
    )
    shape = layer.output.shape if planes is None else layer.compute_output_shape((None, *planes))
    _, height, width, channels = shape
    return _activated(b, layer, x), (int(height), int(width), int(channels))


def _flatten(b: GraphBuilder, layer: Any, x: Value, planes: Planes) -> tuple[str, Planes]:
    del layer
    return b.add("flatten", x), planes


def _activation(b: GraphBuilder, layer: Any, x: Value, planes: Planes) -> tuple[str, Planes]:
    return _activated(b, layer, x), planes


def _relu(b: GraphBuilder, layer: Any, x: Value, planes: Planes) -> tuple[str, Planes]:
    if layer.max_value is not None or layer.negative_slope or layer.threshold:
        raise _unknown(layer, "with a bound, a slope or a threshold")
    return b.add("activation", x, name="relu"), planes


def _elu(b: GraphBuilder, layer: Any, x: Value, planes: Planes) -> tuple[str, Planes]:
    if float(layer.alpha) != 1.0:
        raise _unknown(layer, "with alpha other than 1")
    return b.add("activation", x, name="elu"), planes


def _layer_norm(b: GraphBuilder, layer: Any, x: Value, planes: Planes) -> tuple[str, Planes]:
    last = layer.axis in (-1, [-1]) or list(np.atleast_1d(layer.axis)) == [len(layer.gamma.shape)]
    if planes is not None or not last or not layer.scale or not layer.center:
        raise _unknown(layer, "over several axes, or without gamma and beta")
    weights = {"weight": single(layer.gamma), "bias": single(layer.beta)}
    return b.add("layer_norm", x, weights=weights, epsilon=float(layer.epsilon)), None


def _identity(b: GraphBuilder, layer: Any, x: Value, planes: Planes) -> tuple[str, Planes]:
    del b, layer
    return x, planes


def _nature_cnn(b: GraphBuilder, layer: Any, x: Value, planes: Planes) -> tuple[str, Planes]:
    del planes
    if layer.channels_last:
        x = b.add("channels_first", x)
    if layer.scale != 1.0:
        x = b.add("scale", x, divisor=1.0 / layer.scale)
    for conv in layer.layers[:-1]:
        kernel = single(conv.kernel).transpose(3, 2, 0, 1)
        weights = {"weight": kernel, "bias": single(conv.bias)}
        x = b.add("conv2d", x, weights=weights, stride=list(conv.strides), padding=[0, 0])
        x = b.add("activation", x, name="relu")
    return _dense(b, layer.layers[-1], b.add("flatten", x), layer.planes)


def _one_hot(b: GraphBuilder, layer: Any, x: Value, planes: Planes) -> tuple[str, Planes]:
    del planes
    return b.add("one_hot", x, n=np.asarray(layer.sizes), start=np.asarray(layer.low)), None


def _per_key(b: GraphBuilder, layer: Any, x: Any, planes: Planes) -> tuple[str, Planes]:
    del planes
    parts = [describe(b, part, x[name]) for name, part in zip(layer.names, layer.parts, strict=True)]
    return parts[0] if len(parts) == 1 else b.add("concat", *parts), None


def _encoded(b: GraphBuilder, model: Any, x: Value, planes: Planes) -> tuple[str, Planes]:
    return _described(b, model.trunk, *_described(b, model.encoder, x, planes))


def _gaussian(b: GraphBuilder, model: Any, x: Value, planes: Planes) -> tuple[str, Planes]:
    return _described(b, model.mean, x, planes)  # the greedy action knows no deviations


_KNOWN: Mapping[type, Callable[[GraphBuilder, Any, Any, Planes], tuple[str, Planes]]] = {
    keras.Sequential: _sequential,
    keras.layers.Dense: _dense,
    keras.layers.Conv2D: _conv2d,
    keras.layers.Flatten: _flatten,
    keras.layers.Activation: _activation,
    keras.layers.ReLU: _relu,
    keras.layers.ELU: _elu,
    keras.layers.LayerNormalization: _layer_norm,
    keras.layers.InputLayer: _identity,
    keras.layers.Identity: _identity,
    keras.layers.Dropout: _identity,  # policies act as they are evaluated
    Flattened: _flatten,
    NatureCNN: _nature_cnn,
    OneHot: _one_hot,
    PerKey: _per_key,
    Encoded: _encoded,
    GaussianActor: _gaussian,
}


def _activated(b: GraphBuilder, layer: Any, x: str) -> str:
    """``x`` through the activation of ``layer``."""
    if layer.activation is keras.activations.linear:
        return x
    name = _ACTIVATIONS.get(layer.activation)
    if name is None:
        raise _unknown(
            layer, f"with the activation {getattr(layer.activation, '__name__', layer.activation)}"
        )
    return b.add("activation", x, name=name)


def _unknown(layer: Any, how: str) -> ConfigError:
    return ConfigError(
        f"a network with a {type(layer).__name__}{' ' + how if how else ''} cannot be exported: known are "
        f"{', '.join(sorted(kind.__name__ for kind in _KNOWN))}. Give the layer a method describe(builder, x) that "
        "appends its operations (optix_core.export.GraphBuilder)."
    )
