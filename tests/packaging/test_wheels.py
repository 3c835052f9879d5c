"""Is what we would publish complete, and does it work where nothing of this checkout is installed?"""

from __future__ import annotations

import configparser
import email
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("core", "torch", "tf", "jax", "neuroevo", "distributed")
FRAMEWORKS = {
    "core": set[str](),
    "torch": {"torch"},
    "tf": {"tensorflow", "keras"},
    "jax": {"jax", "flax", "optax"},
    "neuroevo": {"torch"},
    "distributed": {"torch"},
}
"""What each distribution makes its users install."""


def clean_environ() -> dict[str, str]:
    """This process's environment without what could leak the checkout into a child."""
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("OPTIX_", "PYTHON", "PYTEST", "COVERAGE"))
    }
    return kept | {"OMP_NUM_THREADS": "1"}


def read(wheel: Path, suffix: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(f".dist-info/{suffix}"))
        return archive.read(name).decode()


def test_there_are_six(wheels: dict[str, Path]) -> None:
    assert sorted(wheels) == sorted(PACKAGES)


@pytest.mark.parametrize("name", PACKAGES)
def test_a_wheel_holds_every_source_file_and_nothing_else(wheels: dict[str, Path], name: str) -> None:
    source = ROOT / "packages" / f"optix-{name}" / "src"
    expected = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheels[name]) as archive:
        held = {n for n in archive.namelist() if ".dist-info/" not in n}
    assert held == expected
    package = f"optix_{name}"
    assert {f"{package}/py.typed", f"{package}/__init__.py", f"{package}/_version.py"} <= held
    entry = "plugins/builtin.py" if name == "core" else "plugin.py"
    assert f"{package}/{entry}" in held


@pytest.mark.parametrize("name", PACKAGES)
def test_a_wheel_says_what_it_is(wheels: dict[str, Path], name: str) -> None:
    meta = email.message_from_string(read(wheels[name], "METADATA"))
    scope: dict[str, str] = {}
    exec((ROOT / f"packages/optix-{name}/src/optix_{name}/_version.py").read_text(), scope)
    assert (meta["Name"], meta["Version"]) == (f"optix-{name}", scope["__version__"])
    assert meta["Requires-Python"] == ">=3.11"
    assert meta["License-Expression"] == "MIT"
    assert read(wheels[name], "licenses/LICENSE") == (ROOT / "LICENSE").read_text()
    assert "NVIDIA OptiX" in meta.get_payload()


@pytest.mark.parametrize("name", PACKAGES)
def test_a_wheel_registers_its_plugin_module_and_core_its_command(wheels: dict[str, Path], name: str) -> None:
    points = configparser.ConfigParser()
    points.read_string(read(wheels[name], "entry_points.txt"))
    module = "optix_core.plugins.builtin" if name == "core" else f"optix_{name}.plugin"
    assert dict(points["optix_core.plugins"]) == {f"optix-{name}": module}
    scripts = dict(points["console_scripts"]) if points.has_section("console_scripts") else {}
    assert scripts == ({"optix": "optix_core.cli.main:main"} if name == "core" else {})


@pytest.mark.parametrize("name", PACKAGES)
def test_siblings_are_never_pinned_to_one_version(wheels: dict[str, Path], name: str) -> None:
    meta = email.message_from_string(read(wheels[name], "METADATA"))
    requires = meta.get_all("Requires-Dist") or []
    siblings = [r for r in requires if r.startswith("optix-") and not r.startswith("optix-core[")]
    assert siblings
    assert all(">=" in r and "<1" in r and "==" not in r.split(";")[0] for r in siblings), siblings
    hard = [r for r in requires if "extra ==" not in r]
    needed = {re.split(r"[<>=!~ \[;]", r)[0] for r in hard}
    assert needed & set().union(*FRAMEWORKS.values()) == FRAMEWORKS[name], hard


def test_the_readme_of_core_explains_every_extra(wheels: dict[str, Path]) -> None:
    meta = email.message_from_string(read(wheels["core"], "METADATA"))
    table = [line for line in meta.get_payload().splitlines() if line.startswith("| `")]
    explained = {word.strip("` ") for line in table for word in line.split("|")[1].split(",")}
    assert explained == set(meta.get_all("Provides-Extra") or [])


def test_constraints_are_exact_and_name_what_the_workspace_uses() -> None:
    lines = [
        line
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert all("==" in line for line in lines)
    pinned = {line.split("==")[0].lower() for line in lines}
    used = {"torch"}
    for name in PACKAGES:
        project = tomllib.loads((ROOT / f"packages/optix-{name}/pyproject.toml").read_text())["project"]
        used |= {r.split(">")[0].split("[")[0].lower() for r in project["dependencies"]}
    for line in (ROOT / "requirements-dev.txt").read_text().splitlines():
        if line and not line.startswith(("#", "-e")):
            used.add(line.lower())
    assert {u for u in used if not u.startswith("optix-")} <= pinned


# where it matters what is installed and what the wheel holds; the other rooms only compute
ROOMS = ("acting", "agents", "cli", "config", "export", "plugins", "presets")
OPTIONAL = ("optuna", "rich", "yaml", "matplotlib", "onnx", "onnxruntime", "wandb", "tensorboard", "ray")
EVERY_MODULE = """
import importlib, pkgutil
import optix_core
from optix_core.errors import OptixError
names = [module.name for module in pkgutil.walk_packages(optix_core.__path__, "optix_core.")]
for name in names:
    if not name.endswith("__main__"):
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            assert error.name.partition(".")[0] in OPTIONAL, (name, error)
        except OptixError as error:  # an extra is missing, and the sentence says which
            assert "pip install" in str(error), (name, error)
print(len(names))
"""


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "rooms",
    [pytest.param(ROOMS, id="some-rooms"), pytest.param((), id="every-room", marks=pytest.mark.slow)],
)
def test_core_alone_passes_its_own_tests_where_there_is_no_framework(
    wheels: dict[str, Path], fresh_environment: Callable[..., Path], tmp_path: Path, rooms: tuple[str, ...]
) -> None:
    python = fresh_environment(f"{wheels['core']}[testing]", "hypothesis", "pytest-timeout")
    every = sorted(set().union(*FRAMEWORKS.values()))
    probe = (
        "import importlib.util, json, optix_core, sys;"
        f"print(json.dumps([optix_core.__file__, [n for n in {every!r} if importlib.util.find_spec(n)]]))"
    )
    where, importable = json.loads(_run([str(python), "-c", probe], tmp_path))
    assert Path(where).is_relative_to(python.parents[1])
    assert importable == []
    assert int(_run([str(python), "-c", f"OPTIONAL = {OPTIONAL!r}\n{EVERY_MODULE}"], tmp_path)) > 200
    shutil.copytree(
        ROOT / "packages/optix-core/tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    chosen = [f"tests/{room}" for room in rooms] or ["tests"]
    _run([str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen], tmp_path)


def _run(command: list[str], folder: Path) -> str:
    """What a command prints that core alone must be able to carry out, without any plugin."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=clean_environ() | {"OPTIX_PLUGINS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


TRAIN = """
import gymnasium as gym, json, sys
import optix_core, optix_torch
from optix_core import Optimizer, make_agent

agent = make_agent(gym.make("CartPole-v1"))
result = Optimizer(agent, gym.make("CartPole-v1"), max_episodes=3).run()
print(json.dumps([optix_core.__file__, optix_torch.__file__, type(agent).__name__]))
"""


@pytest.mark.timeout(900)
def test_core_and_torch_from_wheels_train_in_a_fresh_environment(
    wheels: dict[str, Path], fresh_environment: Callable[..., Path], tmp_path: Path
) -> None:
    # the wheel of core is named too, so that pip need not look for a published one
    python = fresh_environment(str(wheels["torch"]), str(wheels["core"]))
    done = subprocess.run(
        [str(python), "-c", TRAIN],
        cwd=tmp_path,
        env=clean_environ(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    core, torch, agent = json.loads(done.stdout.splitlines()[-1])
    assert Path(core).is_relative_to(python.parents[1])
    assert Path(torch).is_relative_to(python.parents[1])
    assert agent == "TorchPPOAgent"
    optix = python.with_name("optix" + (".exe" if sys.platform == "win32" else ""))
    listed = subprocess.run(
        [str(optix), "plugins", "list"],
        cwd=tmp_path,
        env=clean_environ(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert listed.returncode == 0, listed.stderr
    assert "optix-torch" in listed.stdout
    assert "optix-tf" not in listed.stdout
