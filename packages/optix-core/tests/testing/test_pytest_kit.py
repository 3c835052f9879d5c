"""Do the conformance classes make tests of checks: failing, skipped, expected to fail, and impossible to bend?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from optix_core.testing import AGENT_CHECKS, AgentConformance, TunerConformance

PRELUDE = """
from optix_core.testing import AgentConformance, CallbackConformance, LinearAgent, TunerConformance
from optix_core.errors import SpaceError
from optix_core.loop_callback import LoopCallback
from optix_core.types import HyperparamSet

class Aliased(LinearAgent):
    def get_hyperparams(self):
        return HyperparamSet(self._params)

def discrete(ctx):
    if not hasattr(ctx.action_space, "n") or ctx.action_space.shape:
        raise SpaceError("discrete actions only")

def good(ctx):
    discrete(ctx)
    return LinearAgent(ctx.observation_space, ctx.action_space, seed=ctx.seed)

def bad(ctx):
    discrete(ctx)
    return Aliased(ctx.observation_space, ctx.action_space, seed=ctx.seed)

"""


def run(folder: Path, body: str, *options: str) -> tuple[int, str]:
    (folder / "test_it.py").write_text(PRELUDE + body, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--strict-markers", "-rA", *options,
         "test_it.py"],
        capture_output=True, text=True, check=False, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return done.returncode, done.stdout


def test_every_check_becomes_a_test_with_its_id(tmp_path: Path) -> None:
    status, out = run(tmp_path, "class TestGood(AgentConformance):\n    agent = staticmethod(good)\n")
    assert status == 0, out
    for check in AGENT_CHECKS:
        assert (
            f"test_conforms[{check.id}]" in out
            or check.slow
            or check.id.startswith(
                ("static-", "hyperparams-def", "capability-", "spaces-obs", "masks-", "memory-")
            )
        )
    assert "register the marker slow to run this check" in out


def test_a_fault_fails_one_test_with_the_rule_and_the_finding(tmp_path: Path) -> None:
    status, out = run(tmp_path, "class TestBad(AgentConformance):\n    agent = staticmethod(bad)\n")
    assert status == 1
    assert out.count("FAILED") == 1
    assert "FAILED test_it.py::TestBad::test_conforms[hyperparams-copies]" in out
    assert "Sets are copied, never shared." in out


def test_an_announced_failure_is_expected_and_strict(tmp_path: Path) -> None:
    body = (
        "class TestIt(AgentConformance):\n    agent = staticmethod({})\n"
        "    expected_failures = {{'hyperparams-copies': 'soon'}}\n"
    )
    status, out = run(tmp_path, body.format("bad"))
    assert (status, out.count("XFAIL")) == (0, 1), out
    status, out = run(tmp_path, body.format("good"))
    assert status == 1
    assert "was announced to fail (soon); drop the entry" in out


def test_slow_checks_carry_the_marker_where_it_is_registered(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    slow: slow\n")
    body = "class TestGood(AgentConformance):\n    agent = staticmethod(good)\n"
    status, out = run(tmp_path, body, "-m", "slow", "--collect-only")
    assert status == 0
    assert out.count("test_conforms[learning-") == sum(c.slow for c in AGENT_CHECKS)


def test_other_kinds_work_alike(tmp_path: Path) -> None:
    body = (
        "class TestSpsa(TunerConformance):\n    component = 'optix-core:spsa'\n"
        "class TestNothing(CallbackConformance):\n    component = LoopCallback\n"
    )
    status, out = run(tmp_path, body)
    assert status == 0, out
    assert "test_conforms[tuner-bounds]" in out
    assert "test_conforms[callback-events]" in out


@pytest.mark.parametrize("name", ["test_conforms", "pytest_generate_tests", "checks"])
def test_checks_cannot_be_overridden(name: str) -> None:
    with pytest.raises(TypeError, match=f"overrides {name}"):
        type("Bent", (AgentConformance,), {name: lambda self: None, "__module__": "elsewhere"})


def test_expectations_are_checked_when_the_class_is_made() -> None:
    with pytest.raises(ValueError, match="did you mean tuner-bounds"):
        type("Bent", (TunerConformance,), {"expected_failures": {"tuner-bouns": "x"}})
