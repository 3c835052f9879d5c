"""The parts of the standard off-policy agents for continuous actions, made from an environment's spaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from optix_core.agents.standard import continuous
from optix_core.plugin import AgentContext
from optix_jax.builders import BUILDERS
from optix_jax.continuous.twin import TwinCritics
from optix_jax.networks.encoders import ObservationInput, network
from optix_jax.networks.mlp import fan_in_mlp, layered
from optix_jax.networks.network import Network


def sac_parts(ctx: AgentContext, owner: str, **options: Any) -> dict[str, Any]:
    """Constructor arguments of SAC; options are those of :mod:`optix_core.agents.standard.continuous`."""
    return continuous.sac_parts(ctx, owner, BUILDERS, _actor, _critics, **options)


def td3_parts(ctx: AgentContext, owner: str, **options: Any) -> dict[str, Any]:
    """Constructor arguments of TD3; options are those of :mod:`optix_core.agents.standard.continuous`."""
    return continuous.td3_parts(ctx, owner, BUILDERS, _actor, _critics, **options)


def _actor(
    inputs: ObservationInput,
    widths: Sequence[int],
    activation: str,
    rng: np.random.Generator,
    *,
    squash: bool,
) -> Network:
    return network(inputs, fan_in_mlp(widths, activation, rng, output="tanh" if squash else "linear"))


def _critics(
    inputs: ObservationInput, widths: Sequence[int], activation: str, rng: np.random.Generator
) -> dict[str, Any]:
    critic1, critic2 = (layered(fan_in_mlp(widths, activation, rng)) for _ in range(2))
    return {
        "critic1": TwinCritics(critic1=critic1, critic2=critic2, encoder=inputs.encoder),
        "critic2": None,
    }
