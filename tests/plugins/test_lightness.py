"""Do questions about plugins get an answer without loading what makes programs slow?"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

HEAVY = (
    "torch",
    "tensorflow",
    "keras",
    "jax",
    "flax",
    "optax",
    "numpy",
    "scipy",
    "gymnasium",
    "pandas",
    "optuna",
)
CODE = """
import sys, json, io, contextlib
with contextlib.redirect_stdout(io.StringIO()):
    {action}
print(json.dumps([m for m in {heavy!r} if m in sys.modules]))
"""


def loaded_by(action: str) -> list[str]:
    code = CODE.format(action=action, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["plugins", "list"],
        ["plugins", "list", "--json"],
        ["plugins", "info", "optix-torch"],
        ["components"],
        ["plugins", "doctor"],
    ],
    ids=" ".join,
)
def test_these_commands_import_no_framework_numpy_or_gymnasium(arguments: list[str]) -> None:
    assert loaded_by(f"from optix_core.cli.main import main; main({arguments!r})") == []


def test_the_test_can_fail() -> None:
    assert loaded_by("import numpy") == ["numpy"]


@pytest.mark.parametrize(
    "point", sorted(entry_points(group="optix_core.plugins"), key=lambda p: p.name), ids=lambda p: p.name
)
def test_every_installed_plugin_module_is_light(point) -> None:
    assert loaded_by(f"import {point.value.partition(':')[0]}") == []


def test_all_six_distributions_are_listed_as_working() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "optix_core", "plugins", "list", "--json", "--strict"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = {p["name"]: p["state"] for p in json.loads(done.stdout)["plugins"] if p["first_party"]}
    ours = ("core", "distributed", "jax", "neuroevo", "tf", "torch")
    assert found == {f"optix-{name}": "ok" for name in ours}
