"""Layers that turn observations of every kind into features ``[B, F]``, where Keras has none that does."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


class Flattened(keras.layers.Layer):
    """``[B, *shape]`` to ``[B, F]``; also ``[B]`` to ``[B, 1]``."""

    def __init__(self, width: int, **options: Any) -> None:
        super().__init__(**options)
        self.width = width

    def call(self, observations: Any) -> Any:
        """One row of features for each observation."""
        return tf.reshape(observations, (-1, self.width))
