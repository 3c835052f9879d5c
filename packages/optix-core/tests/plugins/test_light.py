"""Do listing and choosing import nothing heavy, and how long do they take?"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from optix_core.plugins.loader import HEAVY

RESOLVE = """
class Box:
    shape = (3,)
class Discrete:
    n = 2
class Env:
    observation_space, action_space = Box(), Discrete()
from optix_core.errors import AgentResolutionError
from optix_core.factory import resolve_agent
try:
    print(resolve_agent("PPO", Env(), learning_rate=1e-3).qualified)
except AgentResolutionError as error:
    assert error.code == "E-NO-BACKEND", error
"""
RECORDS = """
from optix_core.plugins import default_registry
registry = default_registry()
[record.to_dict() for record in registry.records]
[component.spec.summary for component in registry.components()]
"""


def run(code, **environ):
    """Which heavy modules a fresh interpreter holds after ``code``; `bench plugins` measures what it costs."""
    report = f"\nimport json, sys\nprint(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", code + report],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OPTIX_STRICT_PLUGINS": "0", **environ},
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "code",
    [
        "import optix_core",
        "import optix_core.plugin",
        "import optix_core.hyperparams",
        "import optix_core.plugins.builtin",
        "from optix_core.plugins import default_registry; default_registry().discover()",
        RECORDS,
        RESOLVE,
    ],
    ids=["core", "plugin", "hyperparams", "builtin", "discover", "records", "resolve"],
)
def test_nothing_heavy_is_imported(code) -> None:
    assert run(code) == []


def test_discovery_does_not_import_plugins() -> None:
    code = (
        "from optix_core.plugins import default_registry; default_registry().discover()\n"
        "import sys; assert not [m for m in sys.modules if m.startswith('optix_') and not m.startswith('optix_core')]"
    )
    run(code)


def test_the_probe_sees_heavy_modules() -> None:
    assert run("import numpy") == ["numpy"]


def test_every_factory_of_core_leads_to_something() -> None:
    from optix_core.plugins.lookup import load_factory
    from optix_core.plugins.registry import Registry
    from optix_core.plugins.switches import Switches

    for component in Registry(entry_points=[], switches=Switches()).components():
        assert callable(load_factory(component)), component.qualified
