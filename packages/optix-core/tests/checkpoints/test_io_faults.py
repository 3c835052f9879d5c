"""The disk refuses, or the process dies, at every single operation of a save: earlier checkpoints stay intact."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from optix_core.checkpoints import CheckpointStore
from optix_core.errors import CheckpointError, CheckpointNotSaved


@pytest.fixture
def state(any_state: Any) -> Any:
    """Every test here is made with and without sealed arrays."""
    return any_state


ERRORS = {name: getattr(errno, name) for name in ("ENOSPC", "EIO", "EROFS", "EDQUOT", "EACCES")}


def prepared(path: Path, state: Any, fs: Any = None, **options: Any) -> CheckpointStore:
    """Two checkpoints, so that one more save also prunes."""
    store = CheckpointStore(path, keep=2, report=lambda text: None)
    store.save(state(1), step=1, score=5.0)
    store.save(state(2), step=2, score=1.0)
    return CheckpointStore(path, fs=fs, keep=2, **options)


def contents(run: Path) -> list[str]:
    """Names in a run directory; ``segments`` has to hold exactly what its checkpoints name."""
    segments = run / "segments"
    held = sorted(p.name for p in segments.iterdir()) if segments.is_dir() else []
    manifests = [info.manifest for info in CheckpointStore(run).list()]
    named = {f"{entry.sha256}.safetensors" for m in manifests for entry in m.segments.values()}
    assert held == sorted(named)
    return sorted(p.name for p in run.iterdir() if p.name != "segments")


def operations(fast_path: Path, state: Any, faulty: Any, opaque: Any = None) -> list[str]:
    store = prepared(fast_path / "count", state, faulty)
    faulty.arm(10**9, errno.EIO, persistent=False)
    save(store, state, opaque)
    return list(faulty.names)


def save(store: CheckpointStore, state: Any, opaque: Any) -> Any:
    return store.save(
        state(3), step=3, score=2.0, opaque=opaque, kind="exact" if opaque is None else "weights"
    )


def write_weights(path: Path) -> None:
    path.mkdir()
    (path / "w").write_bytes(b"weights")


@pytest.mark.parametrize("persistent", [False, True], ids=["once", "persistent"])
@pytest.mark.parametrize("error", list(ERRORS))
def test_a_failing_save_changes_nothing(
    fast_path: Path, state: Any, faulty: Any, error: str, persistent: bool
) -> None:
    opaque = write_weights if error == "EIO" else None
    names = operations(fast_path, state, faulty, opaque)
    assert len(names) > 20
    assert {
        "mkdir",
        "create",
        "write",
        "fsync",
        "close",
        "sync_directory",
        "rename",
        "unlink",
        "rmdir",
    } <= set(names)
    outcomes = {"saved": 0, "refused": 0}
    for at in range(1, len(names) + 1):
        run, said = fast_path / f"{at}", list[str]()
        faulty.disarm()
        store = prepared(run, state, faulty, report=said.append)
        faulty.arm(at, ERRORS[error], persistent=persistent)
        try:
            save(store, state, opaque)
        except CheckpointNotSaved as refused:
            outcomes["refused"] += 1
            said.append(str(refused))
        else:
            outcomes["saved"] += 1
        assert any(os.strerror(ERRORS[error]) in text for text in said), (
            f"{at}: {names[at - 1]} failed silently"
        )
        assert faulty.hits >= 1
        faulty.disarm()
        reader = CheckpointStore(run)
        good = reader.verify()
        assert set(good.values()) == {None}, (at, names[at - 1], good)
        assert "ckpt-000000000001" in good, "the best was lost"
        assert max(good) >= "ckpt-000000000002"
        save(store, state, opaque)  # the disk is well again
        assert [i.step for i in store.list() if i.step != 2][-2:] == [1, 3]
        store.save(state(4), step=4)
        assert not [p for p in run.rglob(".*") if p.name.startswith((".tmp-", ".trash-"))], (
            at,
            names[at - 1],
        )
        store.gc()
        contents(run)
    sealed = bool(state(0)["agent"].get("replay"))
    assert {"sync_file"} <= set(names) or not sealed, "no segment of an earlier process was taken over"
    assert outcomes["refused"] > (24 if sealed else 12)
    assert outcomes["saved"] >= 4  # failures while the old one is being removed


def test_dying_at_every_operation(fast_path: Path, state: Any, faulty: Any, killed: Any) -> None:
    """Crash points of save and prune, then of the clean-up after them."""
    names = operations(fast_path, state, faulty)
    for at in range(1, len(names) + 1):
        run = fast_path / f"{at}"
        faulty.disarm()
        store = prepared(run, state, faulty)
        faulty.arm(at, None, persistent=True)
        with pytest.raises(killed):
            save(store, state, None)
        for again in range(1, 4):  # die in the clean-up, too
            faulty.arm(again, None, persistent=True)
            successor = CheckpointStore(run, fs=faulty, keep=2)
            try:
                successor.gc()
            except killed:
                continue
        faulty.disarm()
        assert set(CheckpointStore(run).verify().values()) == {None}
        successor = CheckpointStore(run, keep=2)
        best = successor.best()
        assert best is not None
        assert best.step == 1
        save(successor, state, None)
        assert [i.step for i in successor.list()] == [1, 3]
        assert contents(run) == [".lock", "ckpt-000000000001", "ckpt-000000000003"]


def test_dying_in_quarantine(fast_path: Path, state: Any, faulty: Any, killed: Any) -> None:
    for at in range(1, 10):
        run = fast_path / f"{at}"
        faulty.disarm()
        store = prepared(run, state, faulty, report=lambda text: None)
        (run / "ckpt-000000000002" / "state.json").write_bytes(b"{}")
        faulty.arm(at, None, persistent=True)
        try:
            with store.lock():
                store.latest()
            finished = True
        except killed:
            finished = False
        faulty.disarm()
        found = CheckpointStore(run, report=lambda text: None).latest()
        assert found is not None
        assert found.step == 1
        if finished:
            break
    assert finished


def test_a_full_quarantine_does_not_stop_reading(fast_path: Path, state: Any, faulty: Any) -> None:
    said: list[str] = []
    store = prepared(fast_path, state, faulty, report=said.append)
    (fast_path / "ckpt-000000000002" / "state.json").write_bytes(b"{}")
    faulty.arm(1, errno.ENOSPC, persistent=True)
    with store.lock():
        found = store.latest()
    assert found is not None
    assert found.step == 1
    assert "could not be moved to quarantine" in said[0]


def test_an_error_of_the_agent_is_passed_on_and_leaves_nothing(fast_path: Path, state: Any) -> None:
    def broken(path: Path) -> None:
        path.write_bytes(b"half")
        raise RuntimeError("the agent failed")

    store = prepared(fast_path, state)
    with pytest.raises(RuntimeError, match="the agent failed"):
        store.save({}, step=3, kind="weights", opaque=broken)
    assert contents(fast_path) == [".lock", "ckpt-000000000001", "ckpt-000000000002"]


def test_a_read_only_directory_is_an_error_with_a_sentence(fast_path: Path, faulty: Any, state: Any) -> None:
    store = CheckpointStore(fast_path, fs=faulty)
    faulty.arm(1, errno.EROFS, persistent=True)
    with pytest.raises(CheckpointError, match="Read-only file system"):
        store.preflight()
    with pytest.raises(CheckpointNotSaved, match="Read-only file system"):
        store.save(state(), step=0)
