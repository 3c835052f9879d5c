"""The shipped conformance kit, applied to the agents that learn from replay."""

from __future__ import annotations

import pytest

from optix_core.testing import AgentConformance

SMALL = {"hidden_sizes": (32, 32), "batch_size": 32}


class TestDQN(AgentConformance):
    agent = "optix-jax:DQN"


@pytest.mark.slow  # a variant of one that is always run
class TestDQNWithEverything(AgentConformance):
    agent = "optix-jax:DQN"
    options = {"dueling": True, "per_alpha": 0.6, "n_step": 3}  # noqa: RUF012


class TestSAC(AgentConformance):
    agent = "optix-jax:SAC"
    options = SMALL


@pytest.mark.slow  # a variant of one that is always run
class TestSACWithStatistics(AgentConformance):
    agent = "optix-jax:SAC"
    # statistics move with the first window; weights shall move with it too, for they are stored together
    options = {  # noqa: RUF012
        "hidden_sizes": (16, 16),
        "batch_size": 4,
        "normalize_observations": True,
        "learning_starts": 0,
    }


class TestTD3(AgentConformance):
    agent = "optix-jax:TD3"
    options = {**SMALL, "per_alpha": 0.6, "n_step": 3}  # noqa: RUF012
