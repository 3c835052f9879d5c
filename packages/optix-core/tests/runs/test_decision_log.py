"""Lines survive killed writers, flipped bits and full disks, and resuming writes none twice."""

from __future__ import annotations

import errno
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optix_core.checkpoints.filesystem import FileSystem
from optix_core.checkpoints.reporting import CheckpointWarning
from optix_core.errors import CheckpointError
from optix_core.runs import DecisionLog


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def fill(path: Path, count: int) -> None:
    with DecisionLog(path) as log:
        for i in range(count):
            log.write("window", i, 10 * i, score=float(i))


def test_events_come_back(path: Path) -> None:
    with DecisionLog(path, clock=lambda: 12.5) as log:
        assert log.last_seq == 0
        assert log.write("improved", 3, 300, score=np.float32(1.5), bad=math.nan, worse=-math.inf) == 1
        assert log.write("ünï", 4, 2**60, items=np.arange(3), nested={"a": (1, None)}, odd=Path) == 2
    first, second = DecisionLog(path).read()
    assert (first.seq, first.kind, first.window, first.step, first.time) == (1, "improved", 3, 300, 12.5)
    assert first.numbers["score"] == 1.5
    assert math.isnan(first.numbers["bad"])
    assert first.numbers["worse"] == -math.inf
    assert second.step == 2**60
    assert second.numbers["items"] == [0, 1, 2]
    assert second.numbers["nested"] == {"a": [1, None]}
    assert "Path" in second.numbers["odd"]


def test_names_of_the_line_itself_are_refused(path: Path) -> None:
    with pytest.raises(ValueError, match="crc32, time"):
        DecisionLog(path).write("x", time=1, crc32=2)  # type: ignore[arg-type]
    assert not path.exists()


def test_numbering_continues_after_a_restart(path: Path) -> None:
    fill(path, 2)
    fill(path, 2)
    assert [e.seq for e in DecisionLog(path).read()] == [1, 2, 3, 4]


def test_reading_changes_nothing_and_a_missing_file_is_empty(path: Path) -> None:
    assert list(DecisionLog(path).read()) == []
    assert not path.exists()
    fill(path, 2)
    torn = path.read_bytes()[:-5]
    path.write_bytes(torn)
    assert [e.seq for e in DecisionLog(path).read()] == [1]
    assert path.read_bytes() == torn


def test_a_torn_tail_of_any_length_is_cut_off_by_the_next_writer(path: Path) -> None:
    fill(path, 3)
    whole = path.read_bytes()
    second_ends = whole.index(b"\n", whole.index(b"\n") + 1) + 1
    for length in range(second_ends, len(whole)):
        path.write_bytes(whole[:length])
        with DecisionLog(path) as log:
            assert log.write("next") == 3
        events = list(DecisionLog(path).read(strict=True))
        assert [(e.seq, e.kind) for e in events] == [(1, "window"), (2, "window"), (3, "next")]


def test_every_bit_flip_is_found(path: Path, tmp_path: Path) -> None:
    fill(path, 2)
    content = path.read_bytes()
    first_line = content.index(b"\n")
    other = tmp_path / "flipped"
    for bit in range(8 * first_line):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << (bit % 8)
        other.write_bytes(changed)
        with pytest.raises(CheckpointError, match="line 1 is damaged"):
            list(DecisionLog(other).read(strict=True))


def test_a_damaged_line_is_skipped_with_its_number(path: Path) -> None:
    fill(path, 4)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b"10", b"11", 1)
    path.write_bytes(b"".join(lines))
    with pytest.warns(
        CheckpointWarning, match=r"events.jsonl line 2 is damaged \(its checksum differs\). It was skipped"
    ):
        assert [e.seq for e in DecisionLog(path).read()] == [1, 3, 4]
    fill(path, 1)  # a later writer keeps it: only a torn tail is cut
    assert len(path.read_bytes().splitlines()) == 5


def test_a_line_with_a_right_checksum_and_wrong_content(path: Path) -> None:
    from optix_core.runs.decision_log import _sealed

    path.write_bytes(
        _sealed(b'{"seq":1}') + _sealed(b'{"seq":"x","kind":1}') + _sealed(b'{"$eval":"1"}') + b"\n"
    )
    said: list[str] = []
    assert list(DecisionLog(path, report=said.append).read()) == []
    assert len(said) == 3
    assert "is not an event" in said[0]


def test_truncate_after(path: Path) -> None:
    fill(path, 5)
    log = DecisionLog(path)
    assert log.truncate_after(3) == 2
    assert log.write("again") == 4
    log.close()
    assert [(e.seq, e.kind) for e in DecisionLog(path).read(strict=True)][2:] == [(3, "window"), (4, "again")]
    log = DecisionLog(path)
    assert log.truncate_after(10) == 0  # lines lost in a power failure leave a gap, never a repetition
    assert log.write("later") == 11
    assert DecisionLog(path).truncate_after(0) == 4 + 1
    assert path.read_bytes() == b""
    nowhere = DecisionLog(path.with_name("none"))
    assert nowhere.truncate_after(7) == 0
    assert nowhere.last_seq == 7
    assert not path.with_name("none").exists()


def test_truncating_while_open(path: Path) -> None:
    with DecisionLog(path) as log:
        for _ in range(5):
            log.write("a")
        log.truncate_after(2)
        assert log.write("b") == 3
    assert [e.kind for e in DecisionLog(path).read(strict=True)] == ["a", "a", "b"]


class Failing(FileSystem):
    """Writes half a line and fails, as a full disk does."""

    def __init__(self) -> None:
        self.failing = False
        self.also_truncate = False

    def write(self, fd: int, data: memoryview) -> int:
        if self.failing and len(data) < 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(fd, data[: len(data) // 2]) if self.failing else super().write(fd, data)

    def truncate(self, fd: int, size: int) -> None:
        if self.failing and self.also_truncate:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().truncate(fd, size)


@pytest.mark.parametrize("also_truncate", [False, True])
def test_failing_writes_never_stop_training_and_leave_no_torn_line(path: Path, also_truncate: bool) -> None:
    fs, said = Failing(), list[str]()
    fs.also_truncate = also_truncate
    with DecisionLog(path, fs, report=said.append) as log:
        assert log.write("good") == 1
        fs.failing = True
        assert [log.write("lost"), log.write("lost")] == [2, 3]
        assert log.failures == 2
        assert len(said) == 1
        assert "No space left on device. Training goes on" in said[0]
        fs.failing = False
        assert log.write("good") == 4
        fs.failing = True
        log.write("lost")
        assert len(said) == 2  # a new series is told again
        fs.failing = False
        log.write("good")
    assert [(e.seq, e.kind) for e in DecisionLog(path).read(strict=True)] == [
        (1, "good"),
        (4, "good"),
        (6, "good"),
    ]


def test_every_operation_failing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("open_append", "write", "truncate", "fsync", "close"):
        with monkeypatch.context() as patch:

            def fail(*args: Any) -> Any:
                raise OSError(errno.EIO, "Input/output error")

            said: list[str] = []
            log = DecisionLog(path, report=said.append)
            log.write("before")
            patch.setattr(FileSystem, name, fail)
            log.write("during")
            log.sync()
        log.write("after")
        log.sync()
        log.close()
    assert [e.kind for e in DecisionLog(path).read(strict=True)].count("after") == 5


def test_unreadable_log(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    said: list[str] = []
    log = DecisionLog(tmp_path / "log", report=said.append)
    assert log.write("x") == 1
    assert log.failures >= 1
    assert len(said) == 1
    with pytest.raises(CheckpointError) as caught:
        list(log.read())
    assert caught.value.code == "E-LOG-UNREADABLE"


def test_lines_written_before_a_kill_are_there(path: Path) -> None:
    program = """
import os, signal, sys
from optix_core.runs import DecisionLog
log = DecisionLog(sys.argv[1])
for i in range(100):
    log.write("w", i)
os.kill(os.getpid(), signal.SIGKILL)
"""
    process = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert process.returncode == -9
    assert [e.window for e in DecisionLog(path).read(strict=True)] == list(range(100))
