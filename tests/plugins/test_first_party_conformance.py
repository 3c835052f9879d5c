"""Does everything that the installed distributions register keep its contract?"""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from optix_core.plugins.registry import Registry
from optix_core.testing.components import CHECKS_BY_KIND, check_component

COMPONENTS = [
    (c.spec.kind, c.qualified)
    for c in Registry().components()
    if c.record.first_party and c.spec.kind in {"agent", *CHECKS_BY_KIND}
]


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


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for kind, name in COMPONENTS if kind == "agent"])
def test_agents_learn_what_they_should(name: str) -> None:
    from optix_core.testing import check_agent

    report = check_agent(name, slow=True)
    assert report.ok, str(report)


def test_there_is_something_to_ask() -> None:
    kinds = {kind for kind, _ in COMPONENTS}
    assert kinds >= {"agent", "pipeline", "tuner", "callback", "evaluator"}
