"""Soft actor-critic, as TensorFlow offers it."""

from __future__ import annotations

from optix_core.agents.hypers.sac import HYPERS, OBSERVATION_SPACES, OPTIONS
from optix_core.plugin import AgentSpec

SPECS = [
    AgentSpec(
        name="SAC",
        algorithm="SAC",
        framework="tf",
        summary="soft actor-critic: off-policy, stochastic, adapts its temperature",
        factory="optix_tf.sac:build",
        action_spaces=frozenset({"box"}),
        observation_spaces=OBSERVATION_SPACES,
        policy="stochastic",
        on_policy=False,
        capabilities=frozenset({"checkpoint", "export:onnx", "her"}),
        hyperparams=HYPERS,
        options=OPTIONS,
        default_rank=100,
    ),
]
