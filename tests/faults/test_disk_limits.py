"""A limit that the operating system itself enforces: files may not grow beyond a size."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from optix_core.checkpoints import CheckpointStore

PROGRAM = """
import resource, sys
import numpy as np
from optix_core.checkpoints import CheckpointRegistry, CheckpointStore
from optix_core.errors import CheckpointNotSaved
from optix_core.runs import DecisionLog
from optix_core.state import SealedArray
store = CheckpointStore(sys.argv[1], keep=2)
store.save({"agent": {"weights": {"w": np.zeros(100)}}}, step=1, score=1.0)
log = DecisionLog(sys.argv[1] + "/events.jsonl", report=lambda text: print("log:", text))
log.write("before")
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
for step in (2, 3):
    try:
        store.save({"agent": {"weights": {"w": np.zeros(100_000)}}}, step=step, score=9.0)
        print("saved")
    except CheckpointNotSaved as error:
        print("refused:", error)
small, large = (SealedArray(np.full(n, 1, np.uint8)) for n in (1_000, 900_000))
try:
    store.save({"agent": {"weights": {"w": np.zeros(100)}, "replay": [small, large]}}, step=3, score=9.0)
    print("saved")
except CheckpointNotSaved as error:
    print("refused:", error)
for i in range(3):
    log.write("during", text="x" * 30_000)
log.write("after")
store.save({"agent": {"weights": {"w": np.ones(100)}, "replay": [small]}}, step=4, score=0.5)
print("alive")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="resource limits are those of POSIX")
def test_files_that_may_not_grow(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    lines = result.stdout.splitlines()
    assert result.returncode == 0, result.stderr
    assert [line.split(":")[0] for line in lines] == ["refused", "refused", "refused", "log", "alive"]
    assert "File too large" in lines[0]
    assert "It needs 800," in lines[0]
    assert "It needs 90" in lines[2], "the small segment was written, the large one is missing"
    store = CheckpointStore(tmp_path)
    assert [i.step for i in store.list()] == [1, 4]
    assert set(store.verify().values()) == {None}
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.startswith("ckpt-")) == [
        ".lock",
        "events.jsonl",
        "segments",
    ]
    assert [p.stat().st_size for p in (tmp_path / "segments").iterdir()] == [1_072]
    from optix_core.runs import DecisionLog

    assert [e.kind for e in DecisionLog(tmp_path / "events.jsonl").read(strict=True)] == ["before", "after"]
