"""A fresh environment with optix-core and a third-party plugin in it, both installed from wheels."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HELLO = ROOT / "examples" / "plugins" / "optix-hello"
QUIET = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Environment:
    """A virtual environment and how to run things in it.

    Attributes:
        python: Its interpreter.
        extra: Variables that every run gets.
    """

    python: Path
    extra: Mapping[str, str] = field(default_factory=dict)

    def run(
        self, *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run Python with ``arguments``; variables of ours that are set outside do not reach it."""
        inherited = {
            k: v for k, v in os.environ.items() if not k.startswith(("OPTIX_", "PYTHON", "COVERAGE"))
        }
        return subprocess.run(
            [str(self.python), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
            cwd=cwd or self.python.parent,
            env={**inherited, **QUIET, **self.extra, **(env or {})},
        )

    def optix(
        self, *arguments: str, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line."""
        return self.run("-m", "optix_core", *arguments, env=env)

    def having(self, *folders: Path) -> Environment:
        """The same environment with more folders on the search path, as if what lies there were installed."""
        path = os.pathsep.join([*map(str, folders), *filter(None, [self.extra.get("PYTHONPATH")])])
        return Environment(self.python, {**self.extra, "PYTHONPATH": path})


def third_party_libraries(folder: Path) -> Path:
    """Links to everything installed here except optix, so that discovery finds only what tests install."""
    folder.mkdir()
    for entry in Path(sysconfig.get_paths()["purelib"]).iterdir():
        ours = entry.name.lower().removeprefix("_editable_impl_").startswith("optix")
        if not ours and entry.suffix != ".pth" and entry.name != "__pycache__":
            (folder / entry.name).symlink_to(entry)
    return folder


def run_pip(*arguments: str, python: Path | None = None) -> None:
    """Run pip without any network; the one of this environment, or of the Python that made it."""
    inside = importlib.util.find_spec("pip") is not None
    pip = [sys.executable if inside else getattr(sys, "_base_executable", sys.executable), "-I", "-m", "pip"]
    target = [] if python is None else ["--python", str(python)]
    fixed = ["install", "--quiet", "--no-index", "--no-deps", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, *target, *fixed, *arguments], capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stderr


def _build_wheel(source: Path, into: Path) -> Path:
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(into), str(source)],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = into.glob(f"{source.name.replace('-', '_')}-*.whl")
    return wheel


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Environment]:
    """Make an environment with optix-core and the distributions of further source folders, all from wheels."""
    core = _build_wheel(ROOT / "packages" / "optix-core", tmp_path_factory.mktemp("core-wheel"))

    def make(*sources: Path) -> Environment:
        base = tmp_path_factory.mktemp("fresh")
        wheels = [_build_wheel(source, base / "wheels") for source in sources]
        venv.create(base / "venv", with_pip=False)
        python = base / "venv" / "bin" / "python"
        place = [str(python), "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"]
        purelib = Path(subprocess.run(place, capture_output=True, text=True, check=True).stdout.strip())
        libraries = third_party_libraries(base / "libraries")
        (purelib / "libraries.pth").write_text(f"{libraries}\n", encoding="utf-8")
        run_pip(str(core), *map(str, wheels), python=python)
        return Environment(python)

    return make


@pytest.fixture(scope="session")
def core_only(fresh: Callable[..., Environment]) -> Environment:
    """optix-core, and no plugin."""
    return fresh()


@pytest.fixture(scope="session")
def hello(fresh: Callable[..., Environment]) -> Environment:
    """optix-core and the example plugin."""
    return fresh(HELLO)


def _write_plugin(
    site: Path,
    name: str,
    code: str,
    *,
    requires: Sequence[str] = ("optix-core>=0.1,<1",),
    version: str = "0.1.0",
    entry_point: str | None = None,
    modules: Mapping[str, str] | None = None,
) -> Path:
    """What an installer leaves of a distribution with one plugin module: the package and its metadata.

    Args:
        site: The folder it is installed into.
        name: Of the distribution.
        code: The plugin module.
        requires: Its requirements.
        version: Its version.
        entry_point: The entry point's value; the plugin module by default, none at all if empty.
        modules: Further modules of the package.
    """
    package = name.replace("-", "_")
    (site / package).mkdir(parents=True, exist_ok=True)
    for module, text in {"__init__": "", "plugin": code, **(modules or {})}.items():
        (site / package / f"{module}.py").write_text(text, encoding="utf-8")
    info = site / f"{package}-{version}.dist-info"
    info.mkdir(exist_ok=True)
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {name}",
        f"Version: {version}",
        *(f"Requires-Dist: {r}" for r in requires),
    ]
    (info / "METADATA").write_text("\n".join([*lines, "", ""]), encoding="utf-8")
    value = f"{package}.plugin" if entry_point is None else entry_point
    if value:
        (info / "entry_points.txt").write_text(f"[optix_core.plugins]\n{name} = {value}\n", encoding="utf-8")
    return site


@pytest.fixture(scope="session")
def write() -> Callable[..., Path]:
    """Put a plugin into a folder as an installer would."""
    return _write_plugin
