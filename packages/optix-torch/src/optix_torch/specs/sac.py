"""Soft actor-critic, as PyTorch offers it."""

from __future__ import annotations

from optix_core.agents.hypers.sac import HYPERS, OBSERVATION_SPACES, OPTIONS
from optix_core.plugin import AgentSpec
from optix_torch.specs.engine import ENGINE

SPECS = [
    AgentSpec(
        name="SAC",
        algorithm="SAC",
        framework="torch",
        summary="soft actor-critic: off-policy, stochastic, adapts its temperature",
        factory="optix_torch.sac:build",
        action_spaces=frozenset({"box"}),
        observation_spaces=OBSERVATION_SPACES,
        policy="stochastic",
        on_policy=False,
        capabilities=frozenset({"checkpoint", "export:onnx", "her"}),
        hyperparams=HYPERS,
        options=(*OPTIONS, *ENGINE),
        default_rank=100,
    ),
]
