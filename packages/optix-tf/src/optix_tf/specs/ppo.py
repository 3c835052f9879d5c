"""PPO with either kind of policy, as TensorFlow offers it."""

from __future__ import annotations

from optix_core.agents.hypers.ppo import GAUSSIAN_NORMALIZES, HYPERS, OBSERVATION_SPACES, options
from optix_core.plugin import AgentSpec
from optix_tf.specs.options import COMPILER

SPECS = [
    AgentSpec(
        name="PPO",
        algorithm="PPO",
        framework="tf",
        summary="proximal policy optimisation for actions that are choices",
        factory="optix_tf.ppo:build",
        action_spaces=frozenset({"discrete", "multi_discrete", "multi_binary"}),
        observation_spaces=OBSERVATION_SPACES,
        capabilities=frozenset({"checkpoint", "export:onnx", "masks"}),
        hyperparams=HYPERS,
        options=(*options(normalize_observations=False, normalize_rewards=False), *COMPILER),
        default_rank=100,
    ),
    AgentSpec(
        name="GaussianPPO",
        algorithm="PPO",
        framework="tf",
        summary="proximal policy optimisation for continuous actions",
        factory="optix_tf.gaussian_ppo:build",
        action_spaces=frozenset({"box"}),
        observation_spaces=OBSERVATION_SPACES,
        capabilities=frozenset({"checkpoint", "export:onnx"}),
        hyperparams=HYPERS,
        options=(*options(**GAUSSIAN_NORMALIZES), *COMPILER),
        default_rank=50,
    ),
]
