"""The shipped conformance kit, applied to the on-policy agents of this distribution."""

from __future__ import annotations

import pytest

from optix_core.testing import AgentConformance


class TestPPO(AgentConformance):
    agent = "optix-jax:PPO"


@pytest.mark.slow  # a variant of one that is always run
class TestPPOWithStatistics(AgentConformance):
    agent = "optix-jax:PPO"
    options = {"normalize_observations": True, "normalize_rewards": True}  # noqa: RUF012


class TestGaussianPPO(AgentConformance):
    agent = "optix-jax:GaussianPPO"
