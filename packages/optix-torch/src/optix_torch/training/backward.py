"""The backward pass of a perceptron in numpy, into a gradient buffer that is made once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.acting import MLP, MLPSpec

Array = NDArray[Any]

_KEPT_BATCH_SIZES = 4


def _d_tanh(y: Array, delta: Array) -> None:
    np.multiply(y, y, out=y)
    np.subtract(1.0, y, out=y)
    np.multiply(delta, y, out=delta)


def _d_sigmoid(y: Array, delta: Array) -> None:
    np.multiply(delta, y, out=delta)
    np.subtract(1.0, y, out=y)
    np.multiply(delta, y, out=delta)


def _d_relu(y: Array, delta: Array) -> None:
    np.multiply(delta, y > 0.0, out=delta)


def _d_elu(y: Array, delta: Array) -> None:
    # for x <= 0 the output is exp(x) - 1, whose derivative is exp(x) = output + 1
    np.minimum(y, 0.0, out=y)
    np.add(y, 1.0, out=y)
    np.multiply(delta, y, out=delta)


DERIVATIVES: Mapping[str, Callable[[Array, Array], None] | None] = {
    "tanh": _d_tanh,
    "sigmoid": _d_sigmoid,
    "relu": _d_relu,
    "elu": _d_elu,
    "linear": None,
}
"""Multiply ``delta`` by the activation's derivative in place, given its output ``y``, which may be overwritten."""


class Differentiable:
    """A perceptron with a backward pass that writes into views of a gradient buffer."""

    def __init__(self, spec: MLPSpec, parameters: Array, gradients: Array) -> None:
        self.mlp = MLP(spec, parameters)
        arrays, into = spec.layout.views(parameters), spec.layout.views(gradients)
        self._layers = [
            (arrays[f"{i}.weight"], into[f"{i}.weight"], into[f"{i}.bias"], DERIVATIVES[name])
            for i, name in enumerate(spec.activations)
        ]
        self._scratch: dict[int, tuple[Array, list[Array]]] = {}

    def backward(self, d_outputs: Array) -> None:
        """Overwrite the gradients with those of a loss whose derivative by the last forward's outputs is given.

        Both ``d_outputs`` and the layer outputs of that forward are used up.
        """
        n = len(d_outputs)
        if n not in self._scratch:
            if len(self._scratch) >= _KEPT_BATCH_SIZES:
                self._scratch.clear()
            dtype = self.mlp.parameters.dtype
            self._scratch[n] = (
                np.ones(n, dtype),
                [np.empty((n, width), dtype) for width in self.mlp.spec.sizes],
            )
        ones, deltas = self._scratch[n]
        outputs = self.mlp.layer_outputs(n)
        delta = deltas[-1]
        delta[...] = d_outputs
        for i in range(len(self._layers) - 1, -1, -1):
            weight, d_weight, d_bias, derivative = self._layers[i]
            if derivative is not None:
                derivative(outputs[i + 1], delta)
            np.dot(delta.T, outputs[i], out=d_weight)
            np.dot(ones, delta, out=d_bias)
            if i:
                delta = np.dot(delta, weight, out=deltas[i])
