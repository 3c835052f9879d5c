"""The shipped conformance kit, applied to the on-policy agents of this distribution."""

from __future__ import annotations

import pytest

from optix_core.testing import AgentConformance

SMALL = {"hidden_sizes": (16, 16), "compiler": "graph"}
"""Quick to compile; the kit asks the same of either compiler."""


class TestPPO(AgentConformance):
    agent = "optix-tf:PPO"
    options = SMALL


class TestGaussianPPO(AgentConformance):
    agent = "optix-tf:GaussianPPO"
    options = SMALL


@pytest.mark.slow  # windows of many lengths, and processes that have to compile anew
class TestPPOByXLA(AgentConformance):
    agent = "optix-tf:PPO"
    options = {"normalize_observations": True, "normalize_rewards": True}  # noqa: RUF012
