"""The parts of the standard agent with action values, made from an environment's spaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from optix_core.agents.standard import action_values
from optix_core.plugin import AgentContext
from optix_jax.action_values.q_network import QNetwork
from optix_jax.builders import BUILDERS
from optix_jax.networks.encoders import ObservationInput, network
from optix_jax.networks.mlp import fan_in_mlp


def q_parts(ctx: AgentContext, owner: str, **options: Any) -> dict[str, Any]:
    """Constructor arguments of DQN; options are those of :func:`optix_core.agents.standard.action_values.q_parts`."""
    return action_values.q_parts(ctx, owner, BUILDERS, _q_network, **options)


def _q_network(
    inputs: ObservationInput,
    n_actions: int,
    hidden: Sequence[int],
    activation: str,
    *,
    dueling: bool,
    rng: np.random.Generator,
) -> QNetwork:
    trunk = fan_in_mlp((inputs.width, *hidden, n_actions + int(dueling)), activation, rng)
    return QNetwork(trunk=network(inputs, trunk), dueling=dueling)
