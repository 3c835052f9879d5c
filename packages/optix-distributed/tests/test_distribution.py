"""What the distribution says of itself, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import optix_distributed

FRAMEWORKS = ("torch", "tensorflow", "jax", "flax", "optax", "keras")


def test_the_entry_point_names_the_plugin_module():
    points = distribution("optix-distributed").entry_points.select(group="optix_core.plugins")
    assert [(point.name, point.value) for point in points] == [
        ("optix-distributed", "optix_distributed.plugin")
    ]


def test_its_requirements_are_those_that_it_imports():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]
    names = {requirement.split(">")[0] for requirement in project["dependencies"]}
    assert names == {"numpy", "optix-core", "optix-torch", "torch"}
    extras = project["optional-dependencies"]
    assert {n: [r.split(">")[0] for r in rs] for n, rs in extras.items()} == {"ray": ["ray"]}


def test_neither_the_package_nor_its_plugin_nor_what_actors_run_imports_a_framework():
    code = (
        "import sys, optix_distributed, optix_distributed.plugin, optix_distributed.local.actor;"
        f"print([n for n in {FRAMEWORKS!r} if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there():
    for name in optix_distributed.__all__:
        assert getattr(optix_distributed, name) is not None
    assert "AsyncActorLearner" in dir(optix_distributed)
