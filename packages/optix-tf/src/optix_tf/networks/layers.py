"""Layers that turn observations of every kind into features ``[B, F]``.

All of them take tensors of the parameters' type: images arrive as numbers from 0 to 255, choices as whole numbers.
None of them draws from Keras's own generators.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from optix_core.agents.initialising import orthogonal
from optix_core.agents.inputs import IMAGE_FEATURES, NATURE_KERNELS, channels_first


class Flattened(keras.layers.Layer):
    """``[B, *shape]`` to ``[B, F]``; also ``[B]`` to ``[B, 1]``."""

    def __init__(self, width: int, **options: Any) -> None:
        super().__init__(**options)
        self.width = width
        self.built = True

    def call(self, observations: Any) -> Any:
        """One row of features for each observation."""
        return tf.reshape(observations, (-1, self.width))


class OneHot(keras.layers.Layer):
    """Choices as rows of zeros with a one for each choice that was made.

    Args:
        nvec: Numbers of choices, of any shape (``()`` for a single choice).
        low: The smallest value of each, of the same shape.
    """

    def __init__(self, nvec: NDArray[np.int64], low: NDArray[np.int64], **options: Any) -> None:
        super().__init__(**options)
        self.sizes = tuple(int(n) for n in np.asarray(nvec).reshape(-1))
        self.low = tuple(int(n) for n in np.asarray(low).reshape(-1))
        self.width = sum(self.sizes)
        self.built = True

    def call(self, choices: Any) -> Any:
        """``[B, *shape]`` to ``[B, sum(nvec)]``."""
        rows = tf.cast(tf.reshape(choices, (-1, len(self.sizes))), tf.int32) - tf.constant(self.low, tf.int32)
        columns = [tf.one_hot(rows[:, k], n, dtype=self.compute_dtype) for k, n in enumerate(self.sizes)]
        return columns[0] if len(columns) == 1 else tf.concat(columns, axis=1)


class NatureCNN(keras.layers.Layer):
    """The convolutional network of Mnih et al. 2015 (doi:10.1038/nature14236, Methods), with 512 features.

    Convolutions of 32 kernels of 8x8 at stride 4, 64 of 4x4 at stride 2 and 64 of 3x3 at stride 1, a layer of 512
    units, a rectifier after each. Weights are orthogonal with gain sqrt(2), as in PPO's usual implementations, and
    drawn with the channels first, as other frameworks have them; so equal draws make equal functions.

    Args:
        shape: Of one image, channels first or last; the axis of the channels is the shorter one of first and last.
        rng: Draws the weights.
        scale: What pixels are multiplied by.
    """

    width = IMAGE_FEATURES

    def __init__(
        self, shape: Sequence[int], *, rng: np.random.Generator, scale: float = 1.0, **options: Any
    ) -> None:
        super().__init__(**options)
        self.channels_last, (channels, height, width) = channels_first(shape)
        self.scale = scale
        self.layers: list[Any] = []
        gain, dtype = math.sqrt(2.0), self.dtype_policy
        n_in = channels
        for n_out, size, stride in NATURE_KERNELS:
            conv: Any = keras.layers.Conv2D(
                n_out,
                size,
                stride,
                activation="relu",
                kernel_initializer="zeros",
                data_format="channels_last",
                dtype=dtype,
            )
            conv.build((None, height, width, n_in))
            conv.kernel.assign(orthogonal((n_out, n_in, size, size), gain, rng).transpose(2, 3, 1, 0))
            height, width = (height - size) // stride + 1, (width - size) // stride + 1
            n_in = n_out
            self.layers.append(conv)
        self.planes = (height, width, n_in)
        head: Any = keras.layers.Dense(self.width, activation="relu", kernel_initializer="zeros", dtype=dtype)
        head.build((None, math.prod(self.planes)))
        weight = orthogonal((self.width, math.prod(self.planes)), gain, rng)
        head.kernel.assign(columns_last(weight, self.planes).T)
        self.layers.append(head)
        self.built = True

    def call(self, images: Any) -> Any:
        """``[B, C, H, W]`` or ``[B, H, W, C]`` to ``[B, 512]``."""
        x = images if self.channels_last else tf.transpose(images, (0, 2, 3, 1))
        if self.scale != 1.0:
            x = x * tf.constant(self.scale, x.dtype)
        for layer in self.layers[:-1]:
            x = layer(x)
        return self.layers[-1](tf.reshape(x, (-1, math.prod(self.planes))))


class PerKey(keras.layers.Layer):
    """One encoder for each part of a Dict or Tuple observation; their features one after another.

    Args:
        parts: Encoders by the name of the part, in the order of their features.
    """

    def __init__(self, parts: Mapping[str, Any], **options: Any) -> None:
        super().__init__(**options)
        self.names, self.parts = tuple(parts), list(parts.values())
        self.built = True

    def call(self, observations: Any) -> Any:
        """A dict of tensors (or of such dicts) to ``[B, F]``."""
        features = [part(observations[name]) for name, part in zip(self.names, self.parts, strict=True)]
        return features[0] if len(features) == 1 else tf.concat(features, axis=1)


class Encoded(keras.Model):
    """A network behind an encoder.

    Attributes:
        encoder: Observations to features ``[B, F]``.
        trunk: Features to outputs.
    """

    def __init__(self, encoder: Any, trunk: Any) -> None:
        super().__init__()
        self.encoder, self.trunk = encoder, trunk
        self.built = True

    def call(self, observations: Any, training: bool | None = None) -> Any:
        """Outputs of the trunk."""
        del training  # networks learn as they act
        return self.trunk(self.encoder(observations, training=False), training=False)


def columns_last(weight: NDArray[Any], planes: Sequence[int]) -> NDArray[Any]:
    """Columns of ``[out, C * H * W]`` in the order of ``[out, H * W * C]``; ``planes`` is ``(H, W, C)``."""
    height, width, channels = planes
    return weight.reshape(-1, channels, height, width).transpose(0, 2, 3, 1).reshape(len(weight), -1)


def columns_first(weight: NDArray[Any], planes: Sequence[int]) -> NDArray[Any]:
    """The inverse of :func:`columns_last`."""
    height, width, channels = planes
    return weight.reshape(-1, height, width, channels).transpose(0, 3, 1, 2).reshape(len(weight), -1)
