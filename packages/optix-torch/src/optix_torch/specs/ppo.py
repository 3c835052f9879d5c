"""PPO with either kind of policy, as PyTorch offers it."""

from __future__ import annotations

from optix_core.agents.hypers.ppo import GAUSSIAN_NORMALIZES, HYPERS, OBSERVATION_SPACES, options
from optix_core.plugin import AgentSpec
from optix_torch.specs.engine import ENGINE

SPECS = [
    AgentSpec(
        name="PPO",
        algorithm="PPO",
        framework="torch",
        summary="proximal policy optimisation for actions that are choices",
        factory="optix_torch.ppo:build",
        action_spaces=frozenset({"discrete", "multi_discrete", "multi_binary"}),
        observation_spaces=OBSERVATION_SPACES,
        capabilities=frozenset({"checkpoint", "export:onnx", "masks"}),
        hyperparams=HYPERS,
        options=(*options(normalize_observations=False, normalize_rewards=False), *ENGINE),
        default_rank=100,
    ),
    AgentSpec(
        name="GaussianPPO",
        algorithm="PPO",
        framework="torch",
        summary="proximal policy optimisation for continuous actions",
        factory="optix_torch.gaussian_ppo:build",
        action_spaces=frozenset({"box"}),
        observation_spaces=OBSERVATION_SPACES,
        capabilities=frozenset({"checkpoint", "export:onnx"}),
        hyperparams=HYPERS,
        options=(*options(**GAUSSIAN_NORMALIZES), *ENGINE),
        default_rank=50,
    ),
]
