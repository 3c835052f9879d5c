"""The parts of the standard agent with action values, made from an environment's spaces."""

from __future__ import annotations

from typing import Any

from optix_core.agents.standard import action_values
from optix_core.plugin import AgentContext
from optix_tf.builders import BUILDERS
from optix_tf.networks.q_network import q_network


def q_parts(ctx: AgentContext, owner: str, **options: Any) -> dict[str, Any]:
    """Constructor arguments of DQN; options are those of :func:`optix_core.agents.standard.action_values.q_parts`."""
    return action_values.q_parts(ctx, owner, BUILDERS, q_network, **options)
