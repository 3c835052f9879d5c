"""Networks that give a value to every action, how they are built, and how to see that one ends in a dueling layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from optix_tf.networks.dueling import Dueling
from optix_tf.networks.encoders import ObservationInput, network
from optix_tf.networks.fan_in import fan_in_mlp
from optix_tf.networks.layers import Encoded


def q_network(
    inputs: ObservationInput,
    n_actions: int,
    hidden: Sequence[int],
    activation: str,
    *,
    dueling: bool,
    rng: np.random.Generator,
) -> Any:
    """Observations to ``[B, A]``: a perceptron behind the encoder, which starts as :func:`fan_in_mlp` says."""
    trunk = fan_in_mlp((inputs.width, *hidden, n_actions + int(dueling)), activation, rng)
    if dueling:
        trunk.add(Dueling())
    return network(inputs, trunk)


def without_dueling(model: Any) -> tuple[Any, bool]:
    """The part of ``model`` before its :class:`~optix_tf.networks.dueling.Dueling` layer, and whether it ends in one.

    The part shares the layers of ``model``.
    """
    if type(model) is Encoded:
        trunk, found = without_dueling(model.trunk)
        return (Encoded(model.encoder, trunk), True) if found else (model, False)
    if type(model) is keras.Sequential and model.layers:
        *before, last = model.layers
        if type(last) is Dueling:
            return _sequential(before), True
        inner, found = without_dueling(last)
        if found:
            return _sequential([*before, inner]), True
    return model, False


def _sequential(layers: Sequence[Any]) -> Any:
    if len(layers) == 1:
        return layers[0]
    model = keras.Sequential(list(layers))
    model.built = all(layer.built for layer in layers)
    return model
