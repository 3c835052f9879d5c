"""Does optix-hello keep the contract of optix? Every check of the kit is a test here."""

from __future__ import annotations

from optix_core.testing import AgentConformance


class TestHelloAgent(AgentConformance):
    agent = "optix-hello:Hello"
    # a check that cannot pass yet: expected_failures = {"its-id": "why, and until when"}
