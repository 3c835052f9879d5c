"""The shipped conformance kit, applied to every agent of this distribution."""

from __future__ import annotations

from optix_core.testing import AgentConformance


class TestPPO(AgentConformance):
    agent = "optix-torch:PPO"


class TestGaussianPPO(AgentConformance):
    agent = "optix-torch:GaussianPPO"


class TestPPOByAutograd(AgentConformance):
    agent = "optix-torch:PPO"
    options = {"engine": "autograd", "normalize_observations": True, "normalize_rewards": True}  # noqa: RUF012


class TestRecurrentPPO(AgentConformance):
    agent = "optix-torch:RecurrentPPO"
    options = {"memory_size": 16}  # noqa: RUF012


class TestRecurrentPPOWithGRU(AgentConformance):
    agent = "optix-torch:RecurrentPPO"
    options = {"cell": "gru", "memory_size": 16, "shared_memory": True}  # noqa: RUF012


class TestDQN(AgentConformance):
    agent = "optix-torch:DQN"


class TestDQNByAutograd(AgentConformance):
    agent = "optix-torch:DQN"
    options = {"engine": "autograd", "dueling": True, "per_alpha": 0.6, "n_step": 3}  # noqa: RUF012


class TestRainbow(AgentConformance):
    agent = "optix-torch:Rainbow"


OFF_POLICY = {"hidden_sizes": (32, 32), "batch_size": 32}


class TestSAC(AgentConformance):
    agent = "optix-torch:SAC"
    options = OFF_POLICY


class TestSACByAutograd(AgentConformance):
    agent = "optix-torch:SAC"
    options = {**OFF_POLICY, "engine": "autograd", "per_alpha": 0.6, "n_step": 3}  # noqa: RUF012


class TestSACWithStatistics(AgentConformance):
    agent = "optix-torch:SAC"
    # statistics move with the first window; weights shall move with it too, for they are stored together
    options = {**OFF_POLICY, "normalize_observations": True, "learning_starts": 0}  # noqa: RUF012


class TestTD3(AgentConformance):
    agent = "optix-torch:TD3"
    options = OFF_POLICY
