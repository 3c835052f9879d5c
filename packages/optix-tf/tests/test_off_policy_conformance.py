"""The shipped conformance kit, applied to the off-policy agents of this distribution."""

from __future__ import annotations

import pytest

from optix_core.testing import AgentConformance

SMALL = {"hidden_sizes": (32, 32), "batch_size": 32}


class TestDQN(AgentConformance):
    agent = "optix-tf:DQN"


@pytest.mark.slow  # a variant of one that is always run
class TestDuelingDQNWithPriorities(AgentConformance):
    agent = "optix-tf:DQN"
    options = {"dueling": True, "per_alpha": 0.6, "n_step": 3, "hidden_sizes": (32,)}  # noqa: RUF012


class TestSAC(AgentConformance):
    agent = "optix-tf:SAC"
    options = SMALL


@pytest.mark.slow  # a variant of one that is always run
class TestSACWithStatistics(AgentConformance):
    agent = "optix-tf:SAC"
    # statistics move with the first window; weights shall move with it too, for they are stored together
    options = {**SMALL, "normalize_observations": True, "learning_starts": 0, "per_alpha": 0.6, "n_step": 3}  # noqa: RUF012


class TestTD3(AgentConformance):
    agent = "optix-tf:TD3"
    options = SMALL
