"""The forward pass of a multilayer perceptron in numpy, through buffers that are made once per batch size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.acting.parameters import ParameterLayout

_KEPT_BATCH_SIZES = 8


def _relu(x: NDArray[Any]) -> None:
    np.maximum(x, 0.0, out=x)


def _tanh(x: NDArray[Any]) -> None:
    np.tanh(x, out=x)


def _elu(x: NDArray[Any]) -> None:
    below = np.minimum(x, 0.0)
    np.expm1(below, out=below)
    np.maximum(x, 0.0, out=x)
    np.add(x, below, out=x)


def _sigmoid(x: NDArray[Any]) -> None:
    # 1 / (1 + exp(-x)) = (1 + tanh(x/2)) / 2, which cannot overflow
    np.multiply(x, 0.5, out=x)
    np.tanh(x, out=x)
    np.add(x, 1.0, out=x)
    np.multiply(x, 0.5, out=x)


ACTIVATIONS: Mapping[str, Callable[[NDArray[Any]], None] | None] = {
    "tanh": _tanh,
    "relu": _relu,
    "elu": _elu,
    "sigmoid": _sigmoid,
    "linear": None,
}
"""Name to a function that works in place; None leaves its input as it is. ``elu`` has alpha = 1."""


@dataclass(frozen=True, slots=True)
class MLPSpec:
    """The shape of a perceptron.

    Attributes:
        sizes: Width of the input, of each hidden layer and of the output.
        activations: One name of :data:`ACTIVATIONS` for each layer, the last one included.
    """

    sizes: tuple[int, ...]
    activations: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.sizes) < 2 or min(self.sizes) < 1:
            raise ValueError(f"sizes needs an input and an output width, all positive; got {self.sizes}")
        if len(self.activations) != len(self.sizes) - 1:
            raise ValueError(f"{len(self.sizes) - 1} layers need as many activations; got {self.activations}")
        unknown = [name for name in self.activations if name not in ACTIVATIONS]
        if unknown:
            raise ValueError(f"unknown activation {unknown[0]!r}; there are {', '.join(ACTIVATIONS)}")

    @classmethod
    def build(cls, sizes: tuple[int, ...], activation: str, output: str = "linear") -> MLPSpec:
        """The usual form: one activation for every hidden layer and one for the output."""
        return cls(tuple(sizes), (activation,) * (len(sizes) - 2) + (output,))

    @property
    def layout(self) -> ParameterLayout:
        """``0.weight [out, in], 0.bias [out], 1.weight, ...``: layer by layer, weights as ``y = W x + b`` has them."""
        names: list[str] = []
        shapes: list[tuple[int, ...]] = []
        for i, (n_in, n_out) in enumerate(zip(self.sizes[:-1], self.sizes[1:], strict=True)):
            names += [f"{i}.weight", f"{i}.bias"]
            shapes += [(n_out, n_in), (n_out,)]
        return ParameterLayout(tuple(names), tuple(shapes))


class MLP:
    """``x -> act(W x + b)``, layer by layer, on views of a parameter buffer.

    The buffer is not copied: whoever trains it changes what the next forward computes. Nothing is allocated after the
    first call for a batch size, so results are valid until the next call only. Not for use by two threads at once.

    Args:
        spec: The shape.
        parameters: A flat buffer that fits ``spec.layout``, float32 or float64; computation is in its type.
    """

    def __init__(self, spec: MLPSpec, parameters: NDArray[Any]) -> None:
        self.spec = spec
        self.parameters = parameters
        arrays = spec.layout.views(parameters)
        self._layers = [
            (arrays[f"{i}.weight"].T, arrays[f"{i}.bias"], ACTIVATIONS[name])
            for i, name in enumerate(spec.activations)
        ]
        self._buffers: dict[int, list[NDArray[Any]]] = {}

    def layer_outputs(self, n: int) -> list[NDArray[Any]]:
        """The buffers for batch size ``n``: the input ``[n, in]``, then what each layer gave in the last forward."""
        buffers = self._buffers.get(n)
        if buffers is None:
            if len(self._buffers) >= _KEPT_BATCH_SIZES:
                self._buffers.clear()
            buffers = [np.zeros((n, width), self.parameters.dtype) for width in self.spec.sizes]
            self._buffers[n] = buffers
        return buffers

    def forward(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """The outputs ``[N, out]`` for ``inputs`` ``[N, ...]``, in a buffer that the next call overwrites.

        Inputs are flattened after the first axis and cast to the parameters' type.

        Raises:
            ValueError: The flattened width is not ``sizes[0]``.
        """
        n = len(inputs)
        if inputs.ndim != 2:
            inputs = inputs.reshape(n, -1)
        if inputs.shape[1] != self.spec.sizes[0]:  # numpy would broadcast a width of one without a word
            raise ValueError(f"observations have {inputs.shape[1]} features, expected {self.spec.sizes[0]}")
        buffers = self.layer_outputs(n)
        x = buffers[0]
        x[...] = inputs
        dot, add = np.dot, np.add
        for (weight, bias, activation), out in zip(self._layers, buffers[1:], strict=True):
            dot(x, weight, out)
            add(out, bias, out)
            if activation is not None:
                activation(out)
            x = out
        return x
