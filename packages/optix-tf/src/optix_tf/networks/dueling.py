"""A value and advantages as action values: ``Q = V + A - mean A`` (Wang et al. 2016, arXiv:1511.06581, eq. 9)."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="optix_tf")
class Dueling(keras.layers.Layer):
    """The last layer of a dueling network.

    It has no parameters: the layer before it gives ``1 + A`` outputs, the value first. So the two streams share all
    hidden layers and have one linear layer each.
    """

    def call(self, outputs: Any) -> Any:
        """``[B, 1 + A]`` to ``[B, A]``."""
        return dueling_values(outputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """One column less."""
        return (*input_shape[:-1], input_shape[-1] - 1)


def dueling_values(outputs: Any) -> Any:
    """``[B, 1 + A]`` to ``[B, A]``; tensors."""
    advantages = outputs[:, 1:]
    return advantages + (outputs[:, :1] - tf.reduce_mean(advantages, axis=1, keepdims=True))
