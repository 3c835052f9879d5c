"""What optix-torch offers, as data: importing this loads no PyTorch."""

from __future__ import annotations

from optix_core.plugin import AgentSpec, hookimpl
from optix_torch.specs import dqn, ppo, rainbow, recurrent_ppo, sac, td3

OPTIX_API = "1.0"


@hookimpl
def optix_agents() -> list[AgentSpec]:
    """The agents of this distribution."""
    return [*ppo.SPECS, *recurrent_ppo.SPECS, *dqn.SPECS, *rainbow.SPECS, *sac.SPECS, *td3.SPECS]
