"""Perceptrons as networks with targets start."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import keras
import numpy as np


def fan_in_mlp(
    sizes: Sequence[int],
    activation: str,
    rng: np.random.Generator,
    *,
    output: str | None = None,
    dtype: str = "float32",
) -> Any:
    """A perceptron of widths ``sizes`` with weights and biases uniform in plus or minus ``1 / sqrt(inputs)``.

    As in Lillicrap et al. 2015 (arXiv:1509.02971, section 7) and in PyTorch's own layers: published learning rates
    belong to that. Larger first values, as orthogonal matrices with the gain sqrt(2) give, are errors that critics
    would have to unlearn. Drawn layer by layer, weight (``[out, in]``) before bias; other generators are not touched.

    Args:
        sizes: Of the input, of each hidden layer and of the output.
        activation: Of hidden layers, a name that Keras knows.
        rng: Draws the weights.
        output: Activation of the last layer; None: none.
        dtype: Of the parameters.
    """
    layers: list[Any] = [keras.Input((sizes[0],), dtype=dtype)]
    last = len(sizes) - 2
    for i, (n_in, n_out) in enumerate(pairwise(sizes)):
        layer: Any = keras.layers.Dense(
            n_out, activation=output if i == last else activation, kernel_initializer="zeros", dtype=dtype
        )
        layer.build((None, n_in))
        bound = 1.0 / math.sqrt(n_in)
        layer.kernel.assign(rng.uniform(-bound, bound, (n_out, n_in)).T)
        layer.bias.assign(rng.uniform(-bound, bound, n_out))
        layers.append(layer)
    return keras.Sequential(layers)
