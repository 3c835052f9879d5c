"""What optix is told about optix-hello.

Imports optix_core.plugin and nothing else: listing plugins has to stay quick.
"""

from __future__ import annotations

from optix_core.plugin import AgentSpec, Hyper, hookimpl

OPTIX_API = "1.0"

HYPERPARAMS = (
    Hyper(
        "learning_rate",
        1.0,
        low=0.0,
        low_open=True,
        high=2.0,
        tune=(0.03, 1.5),
        log=True,
        help="step of the gradient",
    ),
    Hyper("gamma", 0.99, low=0.0, high=1.0, tune=(0.9, 0.999), help="discount per step"),
    Hyper("gae_lambda", 0.95, low=0.0, high=1.0, help="mixing of one-step (0) and full returns (1)"),
)


@hookimpl
def optix_agents() -> list[AgentSpec]:
    """One agent for discrete actions."""
    return [
        AgentSpec(
            name="Hello",
            factory="optix_hello.agent:build",
            summary="linear actor-critic for discrete actions",
            framework="numpy",
            action_spaces=frozenset({"discrete"}),
            hyperparams=HYPERPARAMS,
        )
    ]
