"""Wheels and environments for the packaging tests: built once, as a person would build them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("core", "torch", "tf", "jax", "neuroevo", "distributed")


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What ``dev.py build`` makes, by the short name of the distribution."""
    target = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, str(ROOT / "dev.py"), "build", "--out", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    built = sorted(target.iterdir())
    assert done.stdout.split() == [str(path) for path in built]
    return {path.name.split("-")[0].removeprefix("optix_"): path for path in built}


@pytest.fixture(scope="session")
def fresh_environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that makes a virtual environment with what is named in it, and returns its Python."""

    def make(*wanted: str) -> Path:
        venv = tmp_path_factory.mktemp("fresh") / "venv"
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        python = venv / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
        pip = [
            str(python),
            "-I",
            "-m",
            "pip",
            "install",
            "-q",
            "--no-compile",
            "-c",
            str(ROOT / "constraints.txt"),
        ]
        done = subprocess.run([*pip, *wanted], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return python

    return make
