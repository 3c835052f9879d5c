"""What a power failure may leave behind, enumerated.

The operations of real saves are recorded. A failure may come after any of them, and the disk then holds, of
everything not yet synced, any subset: of each directory's changed names any selection, of each file's bytes none,
half or all. In every such state all visible checkpoints must verify, and nothing acknowledged may be lost.
Protocols with one sync or rename left out must be caught.
"""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import pytest

from optix_core.checkpoints import CheckpointStore, reader
from optix_core.checkpoints import store as store_module
from optix_core.checkpoints.filesystem import FileSystem, remove_tree
from optix_core.checkpoints.segments import Segments
from optix_core.errors import CorruptCheckpoint

ROOT = Path("/run")


@pytest.fixture
def state(any_state: Any) -> Any:
    """Every test here is made with and without sealed arrays."""
    return any_state


STATES_PER_POINT = 64


class Recorder(FileSystem):
    """Performs operations and writes them down; ``skip`` leaves out syncs."""

    def __init__(self, root: Path, skip: Any = lambda log, operation: False) -> None:
        self.root, self.log, self.skip = root, list[tuple[Any, ...]](), skip
        self._open: dict[int, Path] = {}

    def _note(self, *operation: Any) -> bool:
        if self.skip(self.log, operation):
            return False
        self.log.append(operation)
        return True

    def _name(self, path: Path) -> tuple[str, ...]:
        return path.relative_to(self.root).parts

    def mkdir(self, path: Path) -> None:
        super().mkdir(path)
        self._note("mkdir", self._name(path))

    def create(self, path: Path) -> int:
        fd = super().create(path)
        self._open[fd] = path
        self._note("create", self._name(path))
        return fd

    def write(self, fd: int, data: memoryview) -> int:
        taken = super().write(fd, data)
        self._note("write", self._name(self._open[fd]), bytes(data[:taken]))
        return taken

    def fsync(self, fd: int) -> None:
        if fd in self._open:
            self._note("fsync", self._name(self._open[fd]))

    def sync_file(self, path: Path) -> None:
        self._note("fsync", self._name(path), "found")

    def sync_directory(self, path: Path) -> None:
        self._note("sync_directory", self._name(path))

    def rename(self, source: Path, target: Path) -> None:
        super().rename(source, target)
        self._note("rename", self._name(source), self._name(target))

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        self._note("unlink", self._name(path))

    def rmdir(self, path: Path) -> None:
        super().rmdir(path)
        self._note("rmdir", self._name(path))


class File:
    def __init__(self) -> None:
        self.data, self.synced = b"", 0


class Directory:
    def __init__(self) -> None:
        self.durable: dict[str, Any] = {}
        self.pending: list[tuple[Any, ...]] = []
        self.now: dict[str, Any] = {}

    def change(self, *operation: Any) -> None:
        self.pending.append(operation)
        _apply(self.now, operation)


def _apply(names: dict[str, Any], operation: tuple[Any, ...]) -> None:
    if operation[0] == "add":
        names[operation[1]] = operation[2]
    elif operation[0] == "remove":
        names.pop(operation[1], None)
    else:  # move: one journalled change
        names.pop(operation[1], None)
        names[operation[2]] = operation[3]


class Disk:
    """What is durable and what is not; replays a log."""

    def __init__(self) -> None:
        self.root = Directory()

    def _directory(self, name: tuple[str, ...]) -> Directory:
        node = self.root
        for part in name:
            node = node.now[part]
        return node

    def play(self, operation: tuple[Any, ...]) -> None:
        kind, name = operation[0], operation[1]
        if kind == "sync_directory":
            directory = self._directory(name)
            directory.durable, directory.pending = dict(directory.now), []
            return
        parent = self._directory(name[:-1])
        if kind in {"mkdir", "create"}:
            parent.change("add", name[-1], Directory() if kind == "mkdir" else File())
        elif kind == "write":
            parent.now[name[-1]].data += operation[2]
        elif kind == "fsync":
            parent.now[name[-1]].synced = len(parent.now[name[-1]].data)
        elif kind == "rename":
            assert operation[2][:-1] == name[:-1], "renames stay inside one directory"
            parent.change("move", name[-1], operation[2][-1], parent.now[name[-1]])
        else:
            parent.change("remove", name[-1])

    def states(self, rng: random.Random, limit: int) -> list[dict[str, Any]]:
        """Trees that a power failure may leave now: all if they are few, else a sample."""
        directories, files = list[Directory](), list[File]()
        _walk(self.root, directories, files)
        choices: list[list[Any]] = [
            list(itertools.product((True, False), repeat=len(d.pending))) for d in directories
        ]
        choices += [sorted({len(f.data), f.synced, (len(f.data) + f.synced) // 2}) for f in files]
        total = 1
        for options in choices:
            total *= len(options)
        if total <= limit:
            picks = list(itertools.product(*choices))
        else:
            picks = [tuple(o[0] for o in choices), tuple(o[-1] for o in choices)]
            picks += [tuple(rng.choice(o) for o in choices) for _ in range(limit - 2)]
        result: list[dict[str, Any]] = []
        for pick in picks:
            kept = {id(item): option for item, option in zip([*directories, *files], pick, strict=True)}
            result.append(_tree(self.root, kept))
        return result


def _walk(node: Any, directories: list[Directory], files: list[File]) -> None:
    if isinstance(node, File):
        if node not in files:
            files.append(node)
        return
    if node in directories:
        return
    directories.append(node)
    children = [
        *node.durable.values(),
        *node.now.values(),
        *(o[-1] for o in node.pending if o[0] != "remove"),
    ]
    for child in children:
        _walk(child, directories, files)


def _tree(node: Any, kept: dict[int, Any]) -> Any:
    if isinstance(node, File):
        return node.data[: kept[id(node)]]
    names = dict(node.durable)
    for operation, happened in zip(node.pending, kept[id(node)], strict=True):
        if happened:
            _apply(names, operation)
    return {name: _tree(child, kept) for name, child in names.items()}


def record(
    path: Path, state: Any, skip: Any = lambda log, operation: False, rounds: int = 1
) -> list[tuple[Any, ...]]:
    """Saves with pruning, an interrupted save and its clean-up; acknowledgements stand in the log."""
    path.mkdir()
    fs = Recorder(path, skip)
    for i, score in enumerate([1.0, 9.0, 3.0, 4.0, None, 2.0, 10.0, 5.0] * rounds):
        store = CheckpointStore(path, fs=fs, keep=2, report=lambda text: None)
        info = store.save(state(i), step=i, score=score)
        fs.log.append(("ack", info.sequence, score))
        if i == 3:  # a process that died while removing: the next one cleans up
            fs.log.append(("newest is now", 2))
            fs.rename(path / "ckpt-000000000003", path / ".trash-left")
    return fs.log


def violations(
    log: list[tuple[Any, ...]], memory_fs: Any, limit: int = STATES_PER_POINT
) -> tuple[int, list[str]]:
    """States examined, and what was wrong in them; stops soon after the first find."""
    disk, rng, seen, found = Disk(), random.Random(1), 0, list[str]()
    acknowledged, best = 0, float("-inf")
    verified: dict[Any, Any] = {}
    for index, operation in enumerate(log):
        if operation[0] == "ack":
            acknowledged = max(acknowledged, operation[1])
            best = max(best, operation[2] if operation[2] is not None else best)
            continue
        if operation[0] == "newest is now":
            acknowledged = operation[1]
            continue
        if found:
            break
        disk.play(operation)
        for tree in disk.states(rng, limit):
            seen += 1
            good: list[Any] = []
            segments = tree.get("segments", {})
            held = tuple(sorted((n, bytes(c)) for n, c in segments.items()))
            for name, content in tree.items():
                if not name.startswith("ckpt-"):
                    continue
                key = (name, tuple(sorted((n, bytes(c)) for n, c in content.items())), held)
                if key not in verified:
                    try:
                        verified[key] = reader.load(
                            memory_fs(ROOT, {name: content, "segments": segments}), ROOT / name
                        ).info
                    except Exception as error:
                        verified[key] = error
                if isinstance(verified[key], Exception):
                    found.append(
                        f"after {index} {operation[:2]}: {name} is visible and broken: {verified[key]}"
                    )
                else:
                    good.append(verified[key])
            if max((i.sequence for i in good), default=0) < acknowledged:
                found.append(f"after {index} {operation[:2]}: the newest acknowledged checkpoint is lost")
            if max((i.score for i in good if i.score is not None), default=float("-inf")) < best:
                found.append(f"after {index} {operation[:2]}: the best acknowledged checkpoint is lost")
    return seen, found


def test_no_state_after_a_power_failure_violates_a_promise(
    fast_path: Path, state: Any, memory_fs: Any
) -> None:
    seen, found = violations(record(fast_path / "run", state, rounds=2), memory_fs)
    assert found == []
    assert seen >= 8000, seen


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_no_state_of_many_violates_a_promise(fast_path: Path, state: Any, memory_fs: Any) -> None:
    seen, found = violations(record(fast_path / "run", state, rounds=5), memory_fs, limit=6000)
    assert found == []
    assert seen >= 200_000, seen


def _is(operation: tuple[Any, ...], kind: str) -> bool:
    return operation[0] == kind


MUTANTS = {
    "files are not synced": lambda log, op: _is(op, "fsync"),
    "only the manifest is not synced": lambda log, op: _is(op, "fsync") and op[1][-1] == "manifest.json",
    "the temporary directory is not synced": lambda log, op: _is(op, "sync_directory") and op[1] != (),
    "the run directory is not synced": lambda log, op: _is(op, "sync_directory") and op[1] == (),
    "no sync after the checkpoint's rename": lambda log, op: (
        _is(op, "sync_directory")
        and op[1] == ()
        and log
        and _is(log[-1], "rename")
        and log[-1][2][-1].startswith("ckpt-")
    ),
    "no sync between moving to trash and removing": lambda log, op: (
        _is(op, "sync_directory")
        and op[1] == ()
        and bool(log)
        and not (_is(log[-1], "rename") and log[-1][2][-1].startswith("ckpt-"))
    ),
}


@pytest.mark.parametrize("mutant", list(MUTANTS))
def test_a_protocol_without_one_of_its_syncs_is_caught(
    fast_path: Path, state: Any, memory_fs: Any, mutant: str
) -> None:
    _, found = violations(record(fast_path / "run", state, MUTANTS[mutant]), memory_fs)
    assert found


def test_removing_in_place_is_caught(
    fast_path: Path, state: Any, memory_fs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "discard", lambda fs, path, sync: remove_tree(fs, path))
    _, found = violations(record(fast_path / "run", state), memory_fs)
    assert any("visible and broken" in text for text in found)


def test_pruning_before_saving_is_caught(
    fast_path: Path, state: Any, memory_fs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = store_module.commit

    def prune_first(fs: FileSystem, run_dir: Path, *args: Any, **options: Any) -> str:
        for entry in fs.entries(run_dir):
            if entry.name.startswith("ckpt-"):
                store_module.discard(fs, run_dir / entry.name)
        return commit(fs, run_dir, *args, **options)

    monkeypatch.setattr(store_module, "commit", prune_first)
    fs = Recorder(fast_path)
    for i in range(3):
        info = CheckpointStore(fast_path, fs=fs, keep=1).save(state(i), step=i, score=float(i))
        fs.log.append(("ack", info.sequence, float(i)))
    _, found = violations(fs.log, memory_fs)
    assert any("is lost" in text for text in found)


SEGMENT_MUTANTS = {
    "segments are not synced": lambda log, op: _is(op, "fsync") and op[1][0] == "segments",
    "their directory is not synced": lambda log, op: _is(op, "sync_directory") and op[1] == ("segments",),
    "the run directory is not synced after making theirs": lambda log, op: (
        _is(op, "sync_directory") and op[1] == () and bool(log) and log[-1] == ("mkdir", ("segments",))
    ),
}


@pytest.mark.parametrize("mutant", list(SEGMENT_MUTANTS))
def test_segments_without_one_of_their_syncs_are_caught(
    fast_path: Path, with_segments: Any, memory_fs: Any, mutant: str
) -> None:
    _, found = violations(record(fast_path / "run", with_segments, SEGMENT_MUTANTS[mutant]), memory_fs)
    assert any("visible and broken" in text and "segments/" in text for text in found)


def test_a_manifest_before_its_segments_is_caught(
    fast_path: Path, with_segments: Any, memory_fs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, commit, late = Segments.write, store_module.commit, list[Any]()
    monkeypatch.setattr(Segments, "write", lambda self, arrays, sync: late.append((self, list(arrays), sync)))

    def commit_first(*args: Any, **options: Any) -> str:
        name = commit(*args, **options)
        segments, arrays, sync = late.pop()
        write(segments, arrays, sync=sync)
        return name

    monkeypatch.setattr(store_module, "commit", commit_first)
    _, found = violations(record(fast_path / "run", with_segments), memory_fs)
    assert any("visible and broken" in text for text in found)


def test_removing_segments_that_are_still_named_is_caught(
    fast_path: Path, with_segments: Any, memory_fs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    collect = Segments.collect
    monkeypatch.setattr(Segments, "collect", lambda self, named: collect(self, set(sorted(named)[1:])))
    _, found = violations(record(fast_path / "run", with_segments), memory_fs)
    assert any("visible and broken" in text for text in found)


def test_collecting_before_the_removal_is_durable_is_caught(
    fast_path: Path, with_segments: Any, memory_fs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rename to trash may be undone by the failure, and the checkpoint then lacks its segments."""
    monkeypatch.setattr(
        store_module,
        "discard",
        lambda fs, path, sync: fs.rename(path, path.with_name(f".trash-{path.name}")),
    )
    _, found = violations(record(fast_path / "run", with_segments), memory_fs)
    assert any("visible and broken" in text and "segments/" in text for text in found)


@pytest.mark.parametrize("synced", [True, False], ids=["as it is", "mutant"])
def test_segments_of_a_process_that_made_no_syncs_are_synced_before_use(
    fast_path: Path, with_segments: Any, memory_fs: Any, synced: bool
) -> None:
    fs = Recorder(fast_path, lambda log, op: not synced and op[-1] == "found")
    CheckpointStore(fast_path, fs=fs, durability="process").save(with_segments(0), step=0)
    written = {op[1] for op in fs.log if op[0] == "rename" and op[1][0] == "segments"}
    CheckpointStore(fast_path, fs=fs).save(with_segments(1), step=1)
    assert len(written) == 3
    disk, rng, broken, seen = Disk(), random.Random(1), 0, 0
    for operation in fs.log:
        disk.play(operation)
    for tree in disk.states(rng, 500):
        seen += 1
        try:
            reader.load(memory_fs(ROOT, tree), ROOT / "ckpt-000000000001")
        except CorruptCheckpoint:
            broken += 1
    assert seen >= 100
    assert (broken == 0) is synced
