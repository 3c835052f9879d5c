from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from optix_core.cli.main import main
from optix_core.plugins.registry import Registry, use_registry

PLUGINS = Path(__file__).parent / "plugin"
sys.path.insert(0, str(PLUGINS))

Optix = Callable[..., tuple[int, str, str]]


@pytest.fixture
def optix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Optix]:
    """``optix(*argv) -> (exit status, stdout, stderr)`` in an empty folder, with one small agent installed."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("OPTIX_")]:
        monkeypatch.delenv(name)

    def call(
        *argv: str, plugins: tuple[str, ...] = ("--plugins", "", "-p", "linear_agent_plugin")
    ) -> tuple[int, str, str]:
        status = main([*plugins, *argv])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    with use_registry(Registry()):
        yield call
