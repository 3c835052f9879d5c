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
