"""SIGKILL at random moments of saving and pruning loses nothing that was acknowledged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

DRIVER = Path(__file__).with_name("kill_driver.py")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """In memory where possible: a killed process leaves the same there, and hundreds of saves take seconds."""
    if Path("/dev/shm").is_dir() and os.access("/dev/shm", os.W_OK):
        with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="optix-kill-") as name:
            yield Path(name)
    else:
        yield tmp_path


def drill(place: Path, kills: int, seed: int = 0, **environment: str) -> dict[str, Any]:
    result = subprocess.run(
        [sys.executable, str(DRIVER), str(place), str(kills), str(seed)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_two_hundred_kills(place: Path, record_property: Any) -> None:
    report = drill(place, 200)
    record_property("kills inside a save", report["inside"])
    print(report)
    assert report["problems"] == []
    assert report["inside"] >= 40, "too few kills landed inside a save to say anything"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_thousand_kills(place: Path, record_property: Any) -> None:
    report = drill(place, 10_000, seed=1)
    record_property("kills inside a save", report["inside"])
    print(report)
    assert report["problems"] == []
    assert report["inside"] >= 1500


def test_kills_on_the_disk_itself(tmp_path: Path) -> None:
    report = drill(tmp_path, 25, seed=2)
    assert report["problems"] == []


@pytest.mark.parametrize(
    "mutant", ["in place", "prune first", "segments in place", "segments collected too early"]
)
def test_the_drill_can_fail(place: Path, tmp_path: Path, mutant: str) -> None:
    """Wrong protocols, each of which is caught: writing where readers look, and removing before writing."""
    patches = {
        "in place": """
from optix_core.checkpoints import commit
commit.TEMPORARY = "ckpt-99999999"
import secrets
secrets.token_hex = lambda n: "%08d" % int.from_bytes(__import__("os").urandom(3), "little")
""",
        "prune first": """
from optix_core.checkpoints import store
original = store.commit
def commit(fs, run_dir, *args, **options):
    for entry in fs.entries(run_dir):
        if entry.name.startswith("ckpt-"):
            store.discard(fs, run_dir / entry.name)
    return original(fs, run_dir, *args, **options)
store.commit = commit
""",
        "segments in place": """
from optix_core.checkpoints import segments
def create(self, path, array, *, sync):
    fd = self._fs.create(path)
    content = array.serialized()
    for i in range(0, len(content), 64):
        self._fs.write(fd, memoryview(content)[i:i + 64])
    self._fs.close(fd)
    self._verified[array.digest] = self._fs.stamp(path)
segments.Segments._create = create
segments.Segments._intact = lambda self, path, digest, size: path.exists()
""",
        "segments collected too early": """
from optix_core.checkpoints import store
original = store.commit
def commit(fs, run_dir, files, *args, **options):
    name = original(fs, run_dir, files, *args, **options)
    for entry in fs.entries(run_dir / "segments")[:-6]:
        fs.unlink(run_dir / "segments" / entry.name)
    return name
store.commit = commit
""",
    }
    (tmp_path / "sitecustomize.py").write_text(patches[mutant])
    report = drill(place, 60, PYTHONPATH=str(tmp_path))
    assert report["problems"]
