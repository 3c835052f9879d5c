"""What optix-jax offers, as data: importing this loads no JAX."""

from __future__ import annotations

from optix_core.plugin import AgentSpec, hookimpl
from optix_jax.specs import dqn, ppo, sac, td3

OPTIX_API = "1.0"


@hookimpl
def optix_agents() -> list[AgentSpec]:
    """The agents of this distribution."""
    return [*ppo.SPECS, *dqn.SPECS, *sac.SPECS, *td3.SPECS]
