"""What the standard agents of :mod:`optix_core.agents.standard` are made of here."""

from __future__ import annotations

from optix_core.agents.standard.builders import Builders
from optix_jax.networks.encoders import observation_input
from optix_jax.networks.mlp import HIDDEN_ACTIVATIONS
from optix_jax.training.optimizers import Adam


def _adam(learning_rate: float, epsilon: float) -> Adam:
    return Adam(learning_rate, eps=epsilon)


BUILDERS = Builders(observation_input=observation_input, activations=HIDDEN_ACTIVATIONS, adam=_adam)
