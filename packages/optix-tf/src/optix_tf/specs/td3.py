"""TD3, as TensorFlow offers it."""

from __future__ import annotations

from optix_core.agents.hypers.td3 import HYPERS, OBSERVATION_SPACES, OPTIONS
from optix_core.plugin import AgentSpec

SPECS = [
    AgentSpec(
        name="TD3",
        algorithm="TD3",
        framework="tf",
        summary="twin delayed DDPG: off-policy, deterministic",
        factory="optix_tf.td3:build",
        action_spaces=frozenset({"box"}),
        observation_spaces=OBSERVATION_SPACES,
        policy="deterministic",
        on_policy=False,
        capabilities=frozenset({"checkpoint", "export:onnx", "her"}),
        hyperparams=HYPERS,
        options=OPTIONS,
        default_rank=40,
    ),
]
