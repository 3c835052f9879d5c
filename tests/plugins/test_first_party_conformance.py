"""Does everything that the installed distributions register keep its contract?"""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from optix_core.plugins.registry import Registry
from optix_core.testing.components import CHECKS_BY_KIND, check_component

FIRST_PARTY = [(c.spec.kind, c.qualified) for c in Registry().components() if c.record.first_party]
COMPONENTS = [(kind, name) for kind, name in FIRST_PARTY if kind in CHECKS_BY_KIND and kind != "agent"]
AGENTS = [name for kind, name in FIRST_PARTY if kind == "agent"]
PACKAGES = Path(__file__).parents[2] / "packages"


@pytest.fixture(autouse=True)
def nothing_leaves_the_test(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Loggers write below the current folder; wandb is no part of the tested set, and would want an account."""
    monkeypatch.chdir(tmp_path)
    session = types.SimpleNamespace(step=0, log=lambda values, step: None, finish=lambda: None)
    module = types.ModuleType("wandb")
    setattr(module, "init", lambda **options: session)  # noqa: B010 - a module made up here has no declared attributes
    monkeypatch.setitem(sys.modules, "wandb", module)


@pytest.mark.parametrize("kind, name", COMPONENTS)
def test_it_conforms(kind: str, name: str) -> None:
    report = check_component(kind, name)
    assert report is not None
    assert report.ok, str(report)


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_is_checked_in_the_suite_of_its_distribution(name: str) -> None:
    """With one framework in the process; here there are three."""
    suite = PACKAGES / name.split(":", maxsplit=1)[0] / "tests"
    checked = [
        path for path in suite.rglob("test_*.py") if f'    agent = "{name}"\n' in path.read_text("utf-8")
    ]
    assert checked
    assert any("AgentConformance" in path.read_text("utf-8") for path in checked)


@pytest.mark.slow
@pytest.mark.parametrize("name", AGENTS)
def test_agents_learn_what_they_should(name: str) -> None:
    from optix_core.testing import check_agent

    report = check_agent(name, slow=True)
    assert report.ok, str(report)


def test_there_is_something_to_ask() -> None:
    kinds = {kind for kind, _ in FIRST_PARTY}
    assert kinds >= {"agent", "pipeline", "tuner", "callback", "evaluator"}
