"""Do the import rules hold, and would the tools that guard them notice a breach?

The linters' configuration is code like any other: a rule that names a module wrongly guards nothing. So each rule is
broken on purpose in a copy of the sources, and the tool must say so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("optix_core", "optix_torch", "optix_tf", "optix_jax", "optix_neuroevo", "optix_distributed")
HEAVY = ("torch", "tensorflow", "jax", "flax", "optax", "keras", "numpy", "scipy", "gymnasium")

# What the loop may know of core: contracts, plain data, statistics, and where runs are stored.
LOOP_MAY_IMPORT = {
    "_lazy",
    "_version",
    "base_agent",
    "base_evaluator",
    "base_optimizer",
    "base_pipeline",
    "checkpoints",
    "errors",
    "loop",
    "loop_callback",
    "runs",
    "seeding",
    "state",
    "stats",
    "types",
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The sources and the tools' configuration, to be broken."""
    for package in PACKAGES:
        inside = f"packages/{package.replace('_', '-')}/src/{package}"
        shutil.copytree(ROOT / inside, tmp_path / inside, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def source(copy: Path, module: str) -> Path:
    package = module.split(".", 1)[0]
    path = copy / "packages" / package.replace("_", "-") / "src" / Path(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def lint_imports(copy: Path) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join(str(source(copy, package).parents[1]) for package in PACKAGES)
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache"]
    env = os.environ | {"PYTHONPATH": paths, "COLUMNS": "200"}
    return subprocess.run(command, cwd=copy, env=env, capture_output=True, text=True, check=False)


def ruff(copy: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--select", "TID253", "packages"]
    return subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)


def append(path: Path, line: str) -> None:
    path.write_text(path.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")


def test_the_import_rules_hold(copy: Path) -> None:
    done = lint_imports(copy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken" in done.stdout


@pytest.mark.parametrize(
    "module,line,rule",
    [
        ("optix_core.types", "import torch", "core imports no backend and no framework"),
        ("optix_core.errors", "import optix_torch._version", "core imports no backend and no framework"),
        ("optix_jax", "import optix_torch._version", "don't know each other"),
        ("optix_torch.plugin", "import optix_neuroevo._version", "what builds on them"),
        ("optix_neuroevo.plugin", "import optix_jax._version", "and no other sibling"),
        (
            "optix_distributed.plugin",
            "import optix_neuroevo._version",
            "neuroevo and distributed don't know each other",
        ),
        (
            "optix_core.loop.loop_controller",
            "import optix_core.pipelines.batch",
            "the loop sees contracts only",
        ),
        ("optix_core.loop.transition", "import optix_core.rl.returns", "the loop sees contracts only"),
        ("optix_core.loop.transition", "import optix_core.agents.store", "the loop sees contracts only"),
        ("optix_core.acting.heads", "import optix_core.agents.streams", "does not know them"),
        ("optix_tf.plugin", "import tensorflow", "plugin modules import no framework"),
        ("optix_torch.plugin", "import torch", "plugin modules import no framework"),
    ],
)
def test_a_breach_of_an_import_rule_is_reported(copy: Path, module: str, line: str, rule: str) -> None:
    append(source(copy, module), line)
    done = lint_imports(copy)
    assert done.returncode == 1, done.stdout + done.stderr
    broken = [text for text in done.stdout.splitlines() if text.endswith("BROKEN")]
    assert any(rule in text for text in broken), done.stdout


@pytest.mark.parametrize(
    "module,caught",
    [
        ("optix_core.types", True),
        ("optix_core", True),
        ("optix_torch.plugin", True),
        ("optix_tf", True),
        ("optix_torch._version", False),  # elsewhere a backend may import its framework
    ],
)
def test_a_framework_at_module_level_is_reported_where_it_must_not_be(
    copy: Path, module: str, caught: bool
) -> None:
    assert ruff(copy).returncode == 0
    append(source(copy, module), "import torch")
    assert ruff(copy).returncode == int(caught)


def test_the_loop_imports_nothing_beyond_contracts() -> None:
    graph = grimp.build_graph("optix_core")
    inside = graph.find_descendants("optix_core.loop") | {"optix_core.loop"}
    imported = {name for module in inside for name in graph.find_modules_directly_imported_by(module)}
    parts = {name.split(".")[1] for name in imported if name.startswith("optix_core.")}
    assert parts <= LOOP_MAY_IMPORT, f"the loop imports {sorted(parts - LOOP_MAY_IMPORT)}"


@pytest.mark.parametrize(
    "module", [*PACKAGES, *(f"{p}.plugin" for p in PACKAGES), "optix_core.plugins.builtin"]
)
def test_importing_a_package_or_its_plugin_module_loads_nothing_heavy(
    module: str, python: Callable[[str], list[str]]
) -> None:
    # import-linter does not count a package's __init__ as imported by its modules, so a process has to show it
    assert python(f"import sys, {module}; print(*[n for n in {HEAVY!r} if n in sys.modules])") == []


@pytest.fixture
def python() -> Callable[[str], list[str]]:
    """Runs a program and returns the words that it printed."""

    def run(program: str) -> list[str]:
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    return run
