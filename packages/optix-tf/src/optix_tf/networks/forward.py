"""What a network gives for observations on the host: numpy for plain perceptrons, one compiled function for others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from optix_core.acting import MLP
from optix_tf.training.batching import cast, in_pieces, staged
from optix_tf.training.trainable import Trainable

Forward = Callable[[NDArray[Any]], NDArray[Any]]


class CompiledForward:
    """A network as a function of observations, compiled once for any number of them.

    Args:
        training: Has the model.
        model: ``[B, *obs]`` to ``[B, ...]``, or to a tuple.

    Attributes:
        n_compilations: How often it was compiled: once for each type of observations.
    """

    def __init__(self, training: Trainable, model: Any) -> None:
        self._training, self._network = training, training.network(model)
        self._functions: dict[Any, Any] = {}
        self.n_compilations = 0

    def __call__(self, observations: NDArray[Any]) -> Any:
        """Outputs for ``[N, *obs]``, as numpy arrays."""
        given = staged(observations, self._training.layout.dtype)
        key = (observations.dtype, observations.shape[1:])
        function = self._functions.get(key)
        if function is None:
            function = self._functions[key] = self._compiled(given)
        found = function(self._training.vector, given)
        return tf.nest.map_structure(lambda tensor: tensor.numpy(), found)

    def _compiled(self, given: Any) -> Any:
        layout, network = self._training.layout, self._network

        def outputs(vector: Any, observations: Any) -> Any:
            self.n_compilations += 1
            return network(layout.split(vector), cast(observations, layout.dtype))

        rows = tf.nest.map_structure(lambda a: tf.TensorSpec((None, *a.shape[1:]), a.dtype), given)
        parameters = tf.TensorSpec((sum(layout.sizes),), layout.dtype)
        return tf.function(outputs, input_signature=[parameters, rows], autograph=False)


def forward_of(training: Trainable, model: Any) -> Forward:
    """``model`` as a function of normalised observations ``[N, *obs]``, perhaps into a buffer used again.

    Always with the present parameters of ``training``.
    """
    plain = training.perceptron(model)
    if plain is None:
        return CompiledForward(training, model)
    spec, piece = plain
    return MLP(spec, piece[: spec.layout.size]).forward


def outputs_of(forward: Forward, observations: NDArray[Any]) -> NDArray[Any]:
    """``forward`` of a whole window, a fresh array."""
    return np.array(in_pieces(lambda rows: np.array(forward(rows)), observations))
