"""The temperature of soft actor-critic: one number, its logarithm, and the optimizer that adapts it."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from optix_tf.training.adam import Adam
from optix_tf.training.trainable import Trainable


class LogAlpha(keras.Model):
    """The number, as a model whose only weight it is.

    Args:
        dtype: Of the number.
    """

    def __init__(self, dtype: str) -> None:
        super().__init__(dtype=dtype)
        self.log_alpha = self.add_weight(shape=(1,), initializer="zeros", name="log_alpha")
        self.built = True

    def call(self, inputs: Any = None, training: bool | None = None) -> Any:
        """The number, whatever is given."""
        del inputs, training
        return self.log_alpha


class Temperature:
    """The logarithm of alpha, 0 at first.

    Args:
        optimizer: Of optix-tf or Keras, used for nothing else. None: Adam.
        learning_rate: Of that Adam.
        dtype: Of the networks' parameters.

    Attributes:
        training: The number and its optimizer.

    Raises:
        ConfigError: The optimizer cannot be used.
    """

    def __init__(self, optimizer: Any, learning_rate: float, dtype: str) -> None:
        self.training = Trainable(
            {"temperature": LogAlpha(dtype)},
            Adam(learning_rate) if optimizer is None else optimizer,
            perturbable=False,
        )

    @property
    def log_alpha(self) -> float:
        """The logarithm of the temperature."""
        return float(self.training.host[0])

    def set(self, log_alpha: float) -> None:
        """Start from there."""
        self.training.assign(np.array([log_alpha], self.training.layout.dtype))
