"""The store's promises when nothing goes wrong, and when it is used at its edges."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optix_core.checkpoints import CheckpointStore, CheckpointWarning
from optix_core.checkpoints.manifest import VERSION, Manifest
from optix_core.errors import (
    CheckpointError,
    CheckpointLocked,
    CorruptCheckpoint,
    IncompatibleCheckpoint,
    NonFiniteState,
)


@pytest.fixture
def reports() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, reports: list[str]) -> CheckpointStore:
    return CheckpointStore(tmp_path / "run", keep=3, report=reports.append)


def rewrite_manifest(path: Path, **changes: Any) -> None:
    """Change fields and make the digest right again, as only somebody who means to could."""
    document = json.loads((path / "manifest.json").read_bytes())
    document |= changes
    document.pop("digest")
    from optix_core.checkpoints.manifest import _digest_of

    document["digest"] = _digest_of(document)
    (path / "manifest.json").write_text(json.dumps(document, sort_keys=True, separators=(",", ":")))


def test_what_is_saved_is_loaded(store: CheckpointStore, state: Any) -> None:
    info = store.save(
        state(5), step=12_000, window=7, score=1.5, metrics={"x": np.float32(2)}, reason="improvement"
    )
    assert info.name == "ckpt-000000012000"
    assert sorted(p.name for p in info.path.iterdir()) == [
        "agent.safetensors",
        "manifest.json",
        "state.json",
        "training.safetensors",
    ]
    loaded = store.load(info.name)
    assert loaded.info.manifest == info.manifest
    assert loaded.components["loop"]["best"] == -math.inf
    np.testing.assert_array_equal(loaded.components["agent"]["weights"]["w"], np.full((3, 2), 5, np.float32))
    assert (info.step, info.window, info.score, info.manifest.reason) == (12_000, 7, 1.5, "improvement")
    assert store.verify() == {info.name: None}


def test_empty(store: CheckpointStore) -> None:
    assert store.list() == []
    assert store.latest() is None
    assert store.best() is None
    assert store.verify() == {}
    for name in ("latest", "best", "ckpt-000000000001", str(store.run_dir / "nowhere")):
        with pytest.raises(CheckpointError) as caught:
            store.load(name)
        assert caught.value.code == "E-CKPT-MISSING"


def test_best_is_by_score_and_latest_by_order_of_writing(store: CheckpointStore, state: Any) -> None:
    scores = [math.nan, 3.0, math.inf, 7.0, 7.0, None, -math.inf]
    for i, score in enumerate(scores):
        store.save(state(i), step=100 - i, score=score)
    best, latest = store.best(), store.latest()
    assert best is not None
    assert latest is not None
    assert best.step == 97  # the earlier of the two sevens
    assert latest.step == 94
    assert [i.manifest.score_state for i in store.list()][-1] == "-inf"
    assert len(store.list()) == 3


def test_retention_across_restarts(tmp_path: Path, state: Any) -> None:
    CheckpointStore(tmp_path, keep=2).save(state(), step=0, score=100.0)
    for i in range(1, 5):
        CheckpointStore(tmp_path, keep=2).save(state(i), step=i, score=float(i))
    assert [i.step for i in CheckpointStore(tmp_path).list()] == [0, 4]


def test_pinned_protected_and_parent_stay(store: CheckpointStore, state: Any) -> None:
    store.save(state(0), step=0, keep_always=True)
    parent = store.save(state(1), step=1)
    store.protect(parent.name)
    for i in range(2, 9):
        store.save(state(i), step=i, parent=parent, pins=("ckpt-000000000002",))
    assert [i.step for i in store.list()] == [0, 1, 2, 6, 7, 8]
    assert store.list()[-1].manifest.parent == {"name": parent.name, "digest": parent.manifest.digest}


def test_saving_the_same_again_writes_nothing(tmp_path: Path, state: Any, reports: list[str]) -> None:
    store = CheckpointStore(tmp_path, run_id="r", report=reports.append)
    first = store.save(state(1), step=5, score=2.0, reason="improvement")
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file() and p.name != ".lock"}
    again = CheckpointStore(tmp_path, run_id="r", report=reports.append)
    assert again.save(state(1), step=5, score=2.0, reason="improvement") == first
    assert again.save(state(1), step=5, reason="periodic") == first
    assert {
        p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file() and p.name != ".lock"
    } == before
    better = again.save(state(1), step=5, score=3.0, reason="improvement")
    assert better.name == "ckpt-000000000005-r1"
    assert reports == []
    pinned = again.save(state(1), step=5, score=3.0, keep_always=True)
    assert pinned.name == "ckpt-000000000005-r2"


def test_a_step_reached_again_with_other_bits_is_kept_and_reported(tmp_path: Path, state: Any) -> None:
    said: list[str] = []
    CheckpointStore(tmp_path, run_id="r", report=said.append).save(state(1), step=5, reason="periodic")
    same_session = CheckpointStore(tmp_path, run_id="r", report=said.append)
    only_loop = {**state(1), "loop": {"elapsed": 3.0}}
    assert same_session.save(only_loop, step=5, reason="periodic").name == "ckpt-000000000005-r1"
    assert said == []  # the agent is the same; what the loop stores may hold times
    later = CheckpointStore(tmp_path, run_id="r", report=said.append)
    assert later.save(state(2), step=5, reason="periodic").name == "ckpt-000000000005-r2"
    assert len(said) == 2
    assert all("not deterministic" in text for text in said)
    said.clear()
    CheckpointStore(tmp_path, run_id="other", report=said.append).save(state(3), step=5, reason="periodic")
    assert said == []  # another run may do as it likes


def test_non_finite_weights_are_never_a_checkpoint(store: CheckpointStore, state: Any) -> None:
    good = store.save(state(1), step=1)
    bad = state(2)
    bad["agent"]["weights"]["w"][1, 1] = math.nan
    with pytest.raises(NonFiniteState, match="agent/weights/w"):
        store.save(bad, step=2)
    assert [i.name for i in store.list()] == [good.name]
    bad["agent"]["weights"]["w"][1, 1] = 0
    bad["loop"]["scores"][0] = math.nan  # a score history may hold NaN
    store.save(bad, step=2)


@pytest.mark.parametrize(
    "arguments",
    [{"step": -1}, {"step": 10**19}, {"step": 0, "kind": "perfect"}],
    ids=["negative", "huge", "kind"],
)
def test_nonsense_is_refused(store: CheckpointStore, state: Any, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"step is|kind is"):
        store.save(state(), **arguments)


@pytest.mark.parametrize("step", [2**53, 2**53 + 1, 2**63 - 2])
def test_large_counters(store: CheckpointStore, state: Any, step: int) -> None:
    components = state()
    components["loop"]["steps"] = step
    info = store.save(components, step=step, window=step)
    assert store.load(info.name).components["loop"]["steps"] == step
    assert store.list()[0].step == store.list()[0].window == step


def test_constructor_arguments_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="keep is 0"):
        CheckpointStore(tmp_path, keep=0)
    with pytest.raises(ValueError, match="durability"):
        CheckpointStore(tmp_path, durability="hope")
    (tmp_path / "file").write_text("x")
    with pytest.raises(CheckpointError) as caught:
        CheckpointStore(tmp_path / "file" / "run")
    assert caught.value.code == "E-CKPT-UNWRITABLE"


def test_too_much_json_is_refused_with_a_way_out(store: CheckpointStore) -> None:
    with pytest.raises(CheckpointError, match=r"most of it is in 'log'.*numpy arrays"):
        store.save({"log": {"lines": ["x" * 1000] * 20_000}, "agent": {}}, step=0)
    assert store.list() == []


# -- weights that an agent writes itself --------------------------------------------------------------------------


def test_opaque_weights_file_directory_and_suffix(store: CheckpointStore) -> None:
    def directory(path: Path) -> None:
        (path / "deep").mkdir(parents=True)
        (path / "deep" / "a.bin").write_bytes(b"1")
        (path / "b.bin").write_bytes(b"22")

    writers = {
        "file": lambda p: p.write_bytes(b"abc"),
        "suffix": lambda p: np.savez(p, x=np.zeros(2)),
        "directory": directory,
    }
    for i, (kind, writer) in enumerate(writers.items()):
        info = store.save({"loop": {}}, step=i, kind="weights", opaque=writer)
        loaded = store.load(info.name)
        assert loaded.weights == info.path / "weights", kind
        assert "agent" not in loaded.components
    assert {"weights/deep/a.bin", "weights/b.bin", "state.json"} == set(store.list()[-1].manifest.files)
    assert "weights.npz" in store.list()[1].manifest.files
    target = store.list()[-1].path / "weights" / "deep" / "a.bin"
    target.write_bytes(b"2")
    with pytest.raises(CorruptCheckpoint, match=r"a\.bin was changed"):
        store.load(store.list()[-1].name)


@pytest.mark.parametrize(
    "writer,message",
    [
        (lambda p: None, "without writing anything"),
        (lambda p: (p.parent / "other.bin").write_bytes(b"x"), "wrote 'other.bin'"),
        (lambda p: p.symlink_to("/etc/passwd"), "neither a file nor a directory"),
    ],
    ids=["nothing", "elsewhere", "link"],
)
def test_opaque_weights_that_cannot_be_taken(store: CheckpointStore, writer: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        store.save({}, step=0, kind="weights", opaque=writer)
    assert store.list() == []
    assert [p.name for p in store.run_dir.iterdir() if p.name != ".lock"] == []


# -- moving, reading, damage ---------------------------------------------------------------------------------------


def test_a_run_may_be_moved_and_copied_and_holds_no_absolute_path(tmp_path: Path, state: Any) -> None:
    store = CheckpointStore(tmp_path / "here", keep=3)
    store.save(state(1), step=1, score=1.0)
    store.save(state(2), step=2, opaque=lambda p: p.write_bytes(b"w"), kind="weights")
    for file in store.run_dir.rglob("*"):
        assert not file.is_file() or str(tmp_path).encode() not in file.read_bytes()
    shutil.copytree(tmp_path / "here", tmp_path / "copy")
    (tmp_path / "here").rename(tmp_path / "there")
    for place in ("copy", "there"):
        moved = CheckpointStore(tmp_path / place)
        assert set(moved.verify().values()) == {None}
        assert moved.load("best").components["agent"]["updates"] == 1
    shutil.copytree(tmp_path / "there" / "ckpt-000000000001", tmp_path / "alone")
    assert CheckpointStore(tmp_path / "there").load(tmp_path / "alone").info.step == 1


def test_damage_is_skipped_once_loudly_and_quarantined_by_the_writer(
    store: CheckpointStore, state: Any
) -> None:
    said: list[str] = []
    for i in range(3):
        store.save(state(i), step=i, score=float(i))
    (store.run_dir / "ckpt-000000000002" / "agent.safetensors").write_bytes(b"")
    reader = CheckpointStore(store.run_dir, report=said.append)
    for _ in range(2):
        found = reader.latest()
        assert found is not None
        assert found.step == 1
    assert reader.load("best").info.step == 1
    assert len(said) == 1
    assert "agent.safetensors has 0 bytes" in said[0]
    assert "using ckpt-000000000001 as the newest instead" in said[0]
    with pytest.raises(CorruptCheckpoint):
        reader.load("ckpt-000000000002")
    assert not (store.run_dir / "quarantine").exists()
    with store.lock():
        assert store.load().info.step == 1
    [aside] = (store.run_dir / "quarantine").iterdir()
    assert aside.name.startswith("ckpt-000000000002-")
    assert [i.step for i in store.list()] == [0, 1]


def test_the_default_report_is_a_warning(tmp_path: Path, state: Any) -> None:
    store = CheckpointStore(tmp_path)
    store.save(state(0), step=0)
    store.save(state(1), step=1)
    (tmp_path / "ckpt-000000000001" / "state.json").unlink()
    with pytest.warns(CheckpointWarning, match="state.json is missing"):
        store.latest()


def test_all_damaged_is_an_error_that_lists_them(store: CheckpointStore, state: Any) -> None:
    for i in range(2):
        store.save(state(i), step=i, score=1.0)
    (store.run_dir / "ckpt-000000000000" / "manifest.json").write_text("{}")
    (store.run_dir / "ckpt-000000000001" / "extra").write_text("x")
    for use in (store.latest, store.best, store.load):
        with pytest.raises(CorruptCheckpoint) as caught:
            use()
        assert "manifest.json is no manifest" in str(caught.value)
        assert "extra does not belong there" in str(caught.value)


def test_a_checkpoint_renamed_to_another_step_is_not_believed(store: CheckpointStore, state: Any) -> None:
    store.save(state(0), step=0)
    store.save(state(1), step=1)
    (store.run_dir / "ckpt-000000000000").rename(store.run_dir / "ckpt-000000000009")
    infos, problems = store.scan()
    assert [i.step for i in infos] == [1]
    assert "renamed or mixed up" in str(problems[0].error)


def test_links_pipes_and_foreign_names_are_not_followed(
    tmp_path: Path, store: CheckpointStore, state: Any
) -> None:
    info = store.save(state(1), step=1)
    outside = tmp_path / "outside"
    shutil.copytree(info.path, outside)
    (store.run_dir / "ckpt-000000000007").symlink_to(outside)
    (store.run_dir / "ckpt-abc").mkdir()
    assert [i.step for i in store.list()] == [1]
    secret = tmp_path / "secret"
    secret.write_bytes((info.path / "state.json").read_bytes())
    (info.path / "state.json").unlink()
    (info.path / "state.json").symlink_to(secret)
    with pytest.raises(CorruptCheckpoint, match=r"state\.json"):
        store.load(info.name)
    (info.path / "state.json").unlink()
    os.mkfifo(info.path / "state.json")
    with pytest.raises(CorruptCheckpoint, match=r"state\.json"):
        store.load(info.name)


def test_retention_never_leaves_the_directory(tmp_path: Path, store: CheckpointStore, state: Any) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    store.save(state(0), step=0)
    trash = store.run_dir / ".trash-x"
    trash.mkdir()
    (trash / "link").symlink_to(precious)
    (store.run_dir / ".tmp-link").symlink_to(precious)
    assert sorted(store.gc()) == [".tmp-link", ".trash-x"]
    assert (precious / "file").read_text() == "x"


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "a//b", "a/./b", "..", "", "a\x00b", "a/" * 20 + "b"]
)
def test_unsafe_names_in_a_manifest_are_refused(store: CheckpointStore, state: Any, name: str) -> None:
    info = store.save(state(0), step=0)
    files = json.loads((info.path / "manifest.json").read_bytes())["files"]
    rewrite_manifest(info.path, files={**files, name: {"size": 1, "sha256": "0" * 64}})
    with pytest.raises(CorruptCheckpoint, match="not allowed as the name"):
        store.load(info.name)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "x"},
        {"step": "1"},
        {"step": True},
        {"files": []},
        {"files": {"a": 1}},
        {"files": {"a": {"size": -1, "sha256": "0" * 64}}},
        {"files": {"a": {"size": 1, "sha256": "z"}}},
        {"components": {"a": 1}},
        {"score": "high"},
        {"format_version": [0, 9]},
        {"format_version": None},
        {"min_reader": [1]},
        {"tensors": {}},
        {"components": {}},
        {"format": "optix.other"},
    ],
    ids=str,
)
def test_broken_manifests_with_a_right_digest_are_refused(
    store: CheckpointStore, state: Any, change: Any
) -> None:
    info = store.save(state(0), step=0)
    rewrite_manifest(info.path, **change)
    with pytest.raises(CorruptCheckpoint):
        store.load(info.name)


def test_versions(store: CheckpointStore, state: Any) -> None:
    info = store.save(state(0), step=0)
    rewrite_manifest(info.path, format_version=[1, 7], a_new_field={"x": 1})
    assert store.load(info.name).info.step == 0  # a later minor version adds optional things
    for newer in ({"format_version": [2, 0]}, {"min_reader": [VERSION[0], VERSION[1] + 1]}):
        rewrite_manifest(info.path, **newer)
        with pytest.raises(IncompatibleCheckpoint, match="pip install --upgrade optix-core"):
            store.load(info.name)
        with pytest.raises(IncompatibleCheckpoint):
            store.latest()
        assert info.path.exists()
        rewrite_manifest(info.path, format_version=[1, 0], min_reader=[1, 0])


def test_unknown_components_are_named(store: CheckpointStore, state: Any) -> None:
    loaded = store.load(store.save({**state(), "swarm": {}}, step=0).name)
    loaded.require_known({"agent", "loop", "swarm"})
    with pytest.raises(IncompatibleCheckpoint, match="'swarm'"):
        loaded.require_known({"agent", "loop"})


def test_a_checkpoint_that_vanishes_while_being_read_is_looked_up_again(
    store: CheckpointStore, state: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from optix_core.checkpoints.filesystem import FileSystem

    store.save(state(0), step=0)
    store.save(state(1), step=1)
    read = FileSystem.read

    def read_late(self: FileSystem, path: Path, limit: int) -> bytearray:
        if path.name == "state.json" and path.parent.name == "ckpt-000000000001":
            shutil.rmtree(path.parent)
        return read(self, path, limit)

    monkeypatch.setattr(FileSystem, "read", read_late)
    said: list[str] = []
    reader = CheckpointStore(store.run_dir, report=said.append)
    assert reader.load().info.step == 0
    assert said == []


def test_a_listing_that_catches_a_removal_half_way_is_not_damage(
    store: CheckpointStore, state: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from optix_core.checkpoints.filesystem import Entry, FileSystem

    store.save(state(0), step=0)
    store.save(state(1), step=1)
    entries = FileSystem.entries

    def entries_late(self: FileSystem, path: Path) -> list[Entry]:
        found = entries(self, path)
        if (
            path.name == "ckpt-000000000001"
        ):  # opened before the writer moved it away, read while it was emptied
            path.rename(path.with_name(".trash-x"))
            return found[:1]
        return found

    monkeypatch.setattr(FileSystem, "entries", entries_late)
    said: list[str] = []
    assert CheckpointStore(store.run_dir, report=said.append).load().info.step == 0
    assert said == []


def test_an_empty_listing_is_looked_at_again(
    store: CheckpointStore, state: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(state(0), step=0)
    names = CheckpointStore._names
    answers = iter([[], ["ckpt-000000000077"]])
    monkeypatch.setattr(CheckpointStore, "_names", lambda self: next(answers, None) or names(self))
    assert CheckpointStore(store.run_dir).load().info.step == 0


def test_an_unreadable_checkpoint_is_not_quarantined(
    store: CheckpointStore, state: Any, reports: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from optix_core.checkpoints.filesystem import FileSystem

    store.save(state(0), step=0)
    store.save(state(1), step=1)
    read = FileSystem.read

    def refuse(self: FileSystem, path: Path, limit: int) -> bytearray:
        if path.name == "state.json" and path.parent.name == "ckpt-000000000001":
            raise OSError(5, "Input/output error")
        return read(self, path, limit)

    monkeypatch.setattr(FileSystem, "read", refuse)
    with store.lock():
        assert store.load().info.step == 0
    assert "Input/output error" in reports[0]
    assert (store.run_dir / "ckpt-000000000001").exists()


def test_manifest_bytes_round_trip(store: CheckpointStore, state: Any) -> None:
    info = store.save(state(0), step=3, score=0.1 + 0.2, metrics={"nan": math.nan})
    data = (info.path / "manifest.json").read_bytes()
    manifest = Manifest.from_bytes(data, "here")
    assert manifest.to_bytes() == data
    assert manifest.score == 0.1 + 0.2
    assert manifest.size == sum(p.stat().st_size for p in info.path.iterdir()) - len(data)


def test_durability_process_makes_no_fsync(tmp_path: Path, faulty: Any, state: Any) -> None:
    faulty.arm(10**9, None, persistent=False)
    store = CheckpointStore(tmp_path, fs=faulty, durability="process", keep=1)
    for i in range(3):
        store.save(state(i), step=i)
    assert not {"fsync", "sync_file", "sync_directory"} & set(faulty.names)
    assert store.list()[-1].manifest.durability == "process"


def test_files_are_not_writable_by_others(store: CheckpointStore, state: Any) -> None:
    previous = os.umask(0)
    try:
        info = store.save(state(0), step=0)
    finally:
        os.umask(previous)
    for path in (info.path, *info.path.iterdir(), store.run_dir / ".lock"):
        assert path.stat().st_mode & 0o022 == 0, path


def test_no_descriptor_is_left_open(store: CheckpointStore, state: Any) -> None:
    before = {p.name for p in Path("/proc/self/fd").iterdir()}
    for i in range(6):
        store.save(state(i), step=i)
        store.load()
    assert {p.name for p in Path("/proc/self/fd").iterdir()} == before


# -- preflight -----------------------------------------------------------------------------------------------------


def test_preflight_leaves_nothing_and_finds_missing_space(store: CheckpointStore) -> None:
    store.preflight(1000)
    assert [p.name for p in store.run_dir.iterdir()] == [".lock"]
    with pytest.raises(CheckpointError, match="3 checkpoints need") as caught:
        store.preflight(10**15)
    assert caught.value.code == "E-CKPT-NO-SPACE"


def test_preflight_names_what_does_not_work(tmp_path: Path, faulty: Any) -> None:
    store = CheckpointStore(tmp_path, fs=faulty)
    faulty.arm(10**9, 28, persistent=False)
    store.preflight()
    total = faulty.count
    messages: set[str] = set()
    for at in range(1, total + 1):
        faulty.arm(at, 30, persistent=True)
        with pytest.raises(CheckpointError, match="Read-only file system") as caught:
            store.preflight()
        assert caught.value.code == "E-CKPT-UNWRITABLE"
        messages.add(str(caught.value).partition("with:")[0])
    assert len(messages) >= 5
    faulty.disarm()
    with pytest.raises(CheckpointLocked), CheckpointStore(tmp_path).lock():
        store.preflight()
