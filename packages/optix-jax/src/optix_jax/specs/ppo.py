"""PPO with either kind of policy, as JAX offers it."""

from __future__ import annotations

from optix_core.agents.hypers.ppo import GAUSSIAN_NORMALIZES, HYPERS, OBSERVATION_SPACES, options
from optix_core.plugin import AgentSpec

SPECS = [
    AgentSpec(
        name="PPO",
        algorithm="PPO",
        framework="jax",
        summary="proximal policy optimisation for actions that are choices, a window's update compiled as one",
        factory="optix_jax.ppo:build",
        action_spaces=frozenset({"discrete", "multi_discrete", "multi_binary"}),
        observation_spaces=OBSERVATION_SPACES,
        capabilities=frozenset({"checkpoint", "export:onnx", "masks"}),
        hyperparams=HYPERS,
        options=options(normalize_observations=False, normalize_rewards=False),
        default_rank=90,
    ),
    AgentSpec(
        name="GaussianPPO",
        algorithm="PPO",
        framework="jax",
        summary="proximal policy optimisation for continuous actions, a window's update compiled as one",
        factory="optix_jax.gaussian_ppo:build",
        action_spaces=frozenset({"box"}),
        observation_spaces=OBSERVATION_SPACES,
        capabilities=frozenset({"checkpoint", "export:onnx"}),
        hyperparams=HYPERS,
        options=options(**GAUSSIAN_NORMALIZES),
        default_rank=40,
    ),
]
