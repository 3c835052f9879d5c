"""Deep Q-learning, as TensorFlow offers it."""

from __future__ import annotations

from optix_core.agents.hypers.dqn import DUELING, HYPERS, OBSERVATION_SPACES, OPTIONS
from optix_core.plugin import AgentSpec

SPECS = [
    AgentSpec(
        name="DQN",
        algorithm="DQN",
        framework="tf",
        summary="deep Q-learning: double, n-step, dueling and prioritised replay as options",
        factory="optix_tf.dqn:build",
        action_spaces=frozenset({"discrete"}),
        observation_spaces=OBSERVATION_SPACES,
        policy="deterministic",
        on_policy=False,
        capabilities=frozenset({"checkpoint", "export:onnx", "her", "masks"}),
        hyperparams=HYPERS,
        options=(*OPTIONS, DUELING),
        default_rank=60,
    ),
]
