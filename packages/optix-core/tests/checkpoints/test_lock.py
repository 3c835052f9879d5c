"""One writer: also against stopped, killed and forked processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from optix_core.checkpoints import CheckpointStore, RunLock
from optix_core.errors import CheckpointLocked

HOLDER = """
import sys, time
from pathlib import Path
from optix_core.checkpoints.lock import RunLock
lock = RunLock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
time.sleep(120)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of ``tmp_path``."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_process_is_told_who_writes(tmp_path: Path, holder: Any, state: Any) -> None:
    with pytest.raises(CheckpointLocked) as caught, RunLock(tmp_path):
        pass
    assert f"process {holder.pid} on {os.uname().nodename} since 2" in str(caught.value)
    store = CheckpointStore(tmp_path)
    with pytest.raises(CheckpointLocked):
        store.save(state(), step=0)
    assert store.list() == []


def test_a_killed_holder_lets_go_at_once(tmp_path: Path, holder: Any) -> None:
    holder.kill()
    holder.wait()
    with RunLock(tmp_path) as lock:
        assert lock.held


def test_a_stopped_holder_keeps_the_lock(tmp_path: Path, holder: Any) -> None:
    holder.send_signal(signal.SIGSTOP)
    old = time.time() - 10 * 365 * 86400
    os.utime(tmp_path / ".lock", (old, old))  # age is no reason to steal
    for _ in range(3):
        with pytest.raises(CheckpointLocked):
            RunLock(tmp_path).acquire()
        time.sleep(0.05)
    holder.send_signal(signal.SIGCONT)
    holder.kill()
    holder.wait()
    RunLock(tmp_path).acquire()


def test_readers_need_no_lock(tmp_path: Path, state: Any) -> None:
    CheckpointStore(tmp_path).save(state(3), step=3)
    with CheckpointStore(tmp_path).lock():
        reader = CheckpointStore(tmp_path)
        assert reader.load().info.step == 3
        assert set(reader.verify().values()) == {None}


def test_two_objects_in_one_process_exclude_each_other_and_one_may_enter_twice(tmp_path: Path) -> None:
    lock = RunLock(tmp_path)
    assert not lock.held
    with lock, lock:
        assert lock.held
        with pytest.raises(CheckpointLocked, match=f"process {os.getpid()}"):
            RunLock(tmp_path).acquire()
    assert not lock.held
    with RunLock(tmp_path):
        pass


def test_a_forked_child_neither_writes_nor_keeps_the_lock(tmp_path: Path) -> None:
    program = """
import os, sys, time
from pathlib import Path
from optix_core.checkpoints.lock import RunLock
from optix_core.errors import CheckpointLocked
lock = RunLock(Path(sys.argv[1]))
lock.acquire()
child = os.fork()
if child == 0:
    try:
        lock.acquire()
        verdict = "wrote"
    except CheckpointLocked as error:
        verdict = "refused" if "forked child" in str(error) else str(error)
    os.write(1, f"{verdict} {lock.held}\\n".encode())
    time.sleep(30)
    os._exit(0)
os.write(1, f"{child}\\n".encode())
time.sleep(0.3)
os._exit(0)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines = sorted([process.stdout.readline().strip(), process.stdout.readline().strip()])
    child = int(lines[0])
    try:
        assert lines[1] == "refused False"
        process.wait(timeout=20)
        with RunLock(tmp_path):  # the parent is gone, the child still sleeps
            os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)
        process.stdout.close()


def test_many_writers_never_overlap(tmp_path: Path) -> None:
    """Each of four processes saves 25 times, waiting for the lock; every checkpoint is whole and numbered once."""
    program = """
import sys, time
from optix_core.checkpoints import CheckpointStore
from optix_core.errors import CheckpointLocked
store = CheckpointStore(sys.argv[1], keep=None, durability="process")
for i in range(25):
    while True:
        try:
            store.save({"agent": {"i": i}}, step=1000 * int(sys.argv[2]) + i)
            break
        except CheckpointLocked:
            time.sleep(0.001)
"""
    processes = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(k)]) for k in range(4)]
    assert [p.wait(timeout=120) for p in processes] == [0] * 4
    infos = CheckpointStore(tmp_path).list()
    assert [i.sequence for i in infos] == list(range(1, 101))
    assert set(CheckpointStore(tmp_path).verify().values()) == {None}


def test_no_flock_is_refused_unless_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import fcntl

    def refuse(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(CheckpointLocked, match=r"cannot lock \(No locks available\).*unsafe_no_lock=True"):
        RunLock(tmp_path).acquire()
    with RunLock(tmp_path, unsafe_no_lock=True) as lock:
        assert lock.held
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with pytest.raises(CheckpointLocked, match="has no flock"):
        RunLock(tmp_path).acquire()


def test_a_full_disk_does_not_keep_the_holder_from_its_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with RunLock(tmp_path) as lock:
        assert lock.held
        monkeypatch.undo()
        with pytest.raises(CheckpointLocked, match="has not said which"):
            RunLock(tmp_path).acquire()


def test_readers_always_find_a_whole_checkpoint_while_a_writer_saves_and_prunes(tmp_path: Path) -> None:
    program = """
import sys
import numpy as np
from optix_core.checkpoints import CheckpointStore
store = CheckpointStore(sys.argv[1], keep=1, durability="process")
with store.lock():
    k = 0
    while True:
        k += 1
        store.save({"agent": {"k": k, "weights": {"w": np.full(2000, k)}}}, step=k)
        if k == 1:
            print("begun", flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        said: list[str] = []
        reader = CheckpointStore(tmp_path, report=said.append)
        seen: list[int] = []
        deadline = time.monotonic() + 30.0
        while len(set(seen)) < 60 and time.monotonic() < deadline:
            agent = reader.load().components["agent"]
            assert (agent["weights"]["w"] == agent["k"]).all()
            seen.append(agent["k"])
        assert process.poll() is None
        assert said == []
        assert seen == sorted(seen)
        assert len(set(seen)) == 60
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
