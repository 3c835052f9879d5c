"""All trained parameters as one vector, and networks as functions of the parts that it is cut into.

Compiled updates take the vector in and give it out. What they compute depends on shapes alone, not on the variables
of a model, so agents with networks of equal shape share one compiled function.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import tensorflow as tf

from optix_core.acting import MLPSpec
from optix_tf.networks.mlp import forward


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the parts of a vector lie.

    Attributes:
        shapes: Of the parts, in order.
        dtype: ``"float32"`` or ``"float64"``.
    """

    shapes: tuple[tuple[int, ...], ...]
    dtype: str = "float32"

    @property
    def sizes(self) -> list[int]:
        """Numbers of elements."""
        return [math.prod(shape) for shape in self.shapes]

    def split(self, vector: Any) -> list[Any]:
        """The parts of ``vector`` ``[P]``, in their shapes; inside a compiled function."""
        pieces = tf.split(vector, self.sizes)
        return [tf.reshape(piece, shape) for piece, shape in zip(pieces, self.shapes, strict=True)]

    def join(self, parts: Sequence[Any]) -> Any:
        """Parts, or gradients by them, as one vector ``[P]``; None (nothing depends on it) is zeros."""
        flat = [
            tf.zeros((size,), self.dtype) if part is None else tf.reshape(part, (-1,))
            for part, size in zip(parts, self.sizes, strict=True)
        ]
        return tf.concat(flat, axis=0)


class Network(Protocol):
    """A network as a function of all parts of a vector; hashable, equal ones compute the same."""

    @property
    def shareable(self) -> bool:
        """Whether equality is by value, so that a function compiled with it may outlive the agent."""
        ...

    def __call__(self, parts: Sequence[Any], observations: Any, /) -> Any:
        """Outputs for tensors ``[B, *obs]``, or dicts of them."""
        ...


@dataclass(frozen=True, slots=True)
class Perceptron:
    """What :func:`~optix_tf.networks.mlp.standard_mlp` recognises.

    Attributes:
        spec: Its shape.
        at: Which parts are its weights ``[out, in]`` and biases, layer by layer.
        log_std: Which part holds log standard deviations, appended to the outputs; None: there are none.
    """

    spec: MLPSpec
    at: tuple[int, ...]
    log_std: int | None = None

    @property
    def shareable(self) -> bool:
        """True: it is all there is to know."""
        return True

    def __call__(self, parts: Sequence[Any], observations: Any) -> Any:
        """``[B, out]``, or ``[B, 2 out]`` with log standard deviations."""
        outputs = forward(self.spec, [parts[i] for i in self.at], observations)
        if self.log_std is None:
            return outputs
        return tf.concat([outputs, tf.broadcast_to(parts[self.log_std], tf.shape(outputs))], axis=-1)


class KerasNetwork:
    """Any built Keras model, called as it acts (``training=False``).

    Args:
        model: The model.
        at: Which part each of its trainable variables is, and whether it lies there transposed.
    """

    shareable = False

    def __init__(self, model: Any, at: Sequence[tuple[int, bool]]) -> None:
        self.model, self._at = model, tuple(at)

    def __call__(self, parts: Sequence[Any], *inputs: Any) -> Any:
        """Whatever the model returns for tensors ``[B, ...]``, or dicts of them."""
        if len(inputs) > 1 and len(getattr(self.model, "inputs", None) or ()) == len(inputs):
            inputs = (list(inputs),)  # Keras's functional models take one list
        trained = [tf.transpose(parts[i]) if turned else parts[i] for i, turned in self._at]
        others = [variable.value for variable in self.model.non_trainable_variables]
        own = [*self.model.trainable_variables, *self.model.non_trainable_variables]
        values = [*(tf.convert_to_tensor(value) for value in trained), *others]
        with keras.StatelessScope(state_mapping=list(zip(own, values, strict=True))):
            return self.model(*inputs, training=False)  # also where its call() has no such argument


class Behind:
    """A network behind an encoder, see :class:`~optix_tf.networks.layers.Encoded`.

    Attributes:
        encoder: Observations to features; the same object where networks share it.
        trunk: Features to outputs.
    """

    def __init__(self, encoder: Network, trunk: Network) -> None:
        self.encoder, self.trunk = encoder, trunk

    shareable = False

    def __call__(self, parts: Sequence[Any], observations: Any) -> Any:
        """Outputs of the trunk."""
        return self.trunk(parts, self.encoder(parts, observations))
