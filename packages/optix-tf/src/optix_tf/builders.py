"""What the standard agents of :mod:`optix_core.agents.standard` are made of here."""

from __future__ import annotations

from optix_core.agents.standard.builders import Builders
from optix_tf.networks.encoders import observation_input
from optix_tf.networks.mlp import ACTIVATIONS
from optix_tf.training.adam import Adam


def _adam(learning_rate: float, epsilon: float) -> Adam:
    return Adam(learning_rate, epsilon=epsilon)


BUILDERS = Builders(observation_input=observation_input, activations=tuple(ACTIVATIONS), adam=_adam)
