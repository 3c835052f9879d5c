"""Sealed arrays in checkpoints: written once, shared, verified, collected when nobody names them any more."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optix_core.checkpoints import CheckpointRegistry, CheckpointStore
from optix_core.checkpoints.filesystem import FileSystem
from optix_core.checkpoints.jsonio import canonical, parse_object
from optix_core.errors import CheckpointError, CheckpointNotSaved, CorruptCheckpoint
from optix_core.state import SealedArray


def segment(value: int, rows: int = 16) -> SealedArray:
    return SealedArray(np.full((rows, 8), value, np.uint8))


def states(*values: int, open_rows: int = 3) -> dict[str, Any]:
    """An agent with a ring of segments."""
    replay = {"segments": [segment(v) for v in values], "open": np.full((open_rows, 8), 255, np.uint8)}
    return {"agent": {"weights": {"w": np.ones(3)}, "replay": replay}, "loop": {"x": 1}}


def stored(run: Path) -> set[str]:
    return {p.name.removesuffix(".safetensors") for p in (run / "segments").iterdir()}


def digests(*values: int) -> set[str]:
    return {segment(v).digest for v in values}


class Counting(FileSystem):
    """Notes which files are created, read and synced."""

    def __init__(self) -> None:
        self.created, self.read_names, self.synced = list[Path](), list[str](), list[str]()

    def create(self, path: Path) -> int:
        self.created.append(path)
        return super().create(path)

    def read(self, path: Path, limit: int) -> bytearray:
        self.read_names.append(path.name)
        return super().read(path, limit)

    def sync_file(self, path: Path) -> None:
        self.synced.append(path.name)
        super().sync_file(path)

    def segments_written(self) -> int:
        count = sum(path.parent.name == "segments" for path in self.created)
        self.created.clear()
        return count


@pytest.fixture
def run(fast_path: Path) -> Path:
    return fast_path / "run"


def test_what_comes_back_is_sealed_and_equal(run: Path) -> None:
    store = CheckpointStore(run)
    store.save(states(1, 2, 1), step=1)
    loaded = store.load()
    found = loaded.components["agent"]["replay"]["segments"]
    assert found == [segment(1), segment(2), segment(1)]
    assert all(type(s) is SealedArray and s.digest_known for s in found)
    assert found[0] is found[2], "equal arrays are read once"
    assert not found[0].array.flags.writeable
    assert stored(run) == digests(1, 2)
    for path in (run / "segments").iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name.removesuffix(".safetensors")
    manifest = loaded.info.manifest
    assert manifest.shared_size == 2 * segment(1).file_size
    assert manifest.size == sum(
        p.stat().st_size for p in loaded.info.path.iterdir() if p.name != "manifest.json"
    )


def test_only_new_segments_are_written(run: Path) -> None:
    fs = Counting()
    store = CheckpointStore(run, fs=fs)
    store.save(states(1, 2, 3), step=1)
    assert fs.segments_written() == 3
    store.save(states(2, 3, 4), step=2)
    assert fs.segments_written() == 1
    store.save(states(2, 3, 4, open_rows=5), step=3)
    assert fs.segments_written() == 0
    assert fs.synced == []
    assert not [name for name in fs.read_names if len(name) > 64], "segments of one's own were read again"


def test_another_process_checks_and_syncs_what_it_finds_and_writes_nothing(run: Path) -> None:
    CheckpointStore(run).save(states(1, 2), step=1)
    fs = Counting()
    store = CheckpointStore(run, fs=fs)
    for step in (2, 3):
        store.save(states(1, 2, open_rows=step), step=step)
        assert fs.segments_written() == 0
    names = sorted(f"{d}.safetensors" for d in digests(1, 2))
    assert sorted(fs.synced) == names
    assert sorted(name for name in fs.read_names if len(name) > 64) == names


def test_a_process_that_resumed_does_not_read_again_what_it_loaded(run: Path) -> None:
    CheckpointStore(run).save(states(1, 2), step=1)
    fs = Counting()
    store = CheckpointStore(run, fs=fs)
    state = store.load().components
    fs.read_names.clear()
    store.save({**state, "loop": {"x": 2}}, step=2)
    assert not [name for name in fs.read_names if len(name) > 64]


def test_durability_process_makes_no_sync(run: Path) -> None:
    synced: list[Any] = []

    class NoSync(FileSystem):
        def fsync(self, fd: int) -> None:
            synced.append(fd)

    store = CheckpointStore(run, fs=NoSync(), durability="process")
    store.save(states(1), step=1)
    CheckpointStore(run, fs=NoSync(), durability="process").save(states(1, 2), step=2)
    assert synced == []
    assert set(store.verify().values()) == {None}


def test_segments_that_no_checkpoint_names_are_removed(run: Path) -> None:
    store = CheckpointStore(run, keep=2)
    for step in range(1, 7):
        store.save(states(0, step, step + 1), step=step, score=-float(step))
    assert [i.step for i in store.list()] == [1, 6]
    assert stored(run) == digests(0, 1, 2, 6, 7)
    assert set(store.verify().values()) == {None}
    shutil.rmtree(run / "ckpt-000000000001")
    assert sorted(store.gc()) == sorted(f"segments/{d}.safetensors" for d in digests(1, 2))
    assert store.gc() == []
    assert stored(run) == digests(0, 6, 7)


def test_pinned_and_protected_checkpoints_keep_theirs(run: Path) -> None:
    store = CheckpointStore(run, keep=1)
    store.save(states(1), step=1, keep_always=True)
    parent = store.save(states(2), step=2)
    store.protect(parent.name)
    for step in (3, 4):
        store.save(states(step), step=step)
    assert stored(run) == digests(1, 2, 4)
    assert set(store.verify().values()) == {None}


def test_a_missing_segment_makes_exactly_those_invalid_that_name_it(run: Path) -> None:
    store = CheckpointStore(run, report=lambda text: None)
    store.save(states(1, 2), step=1)
    store.save(states(2, 3), step=2)
    store.save(states(3, 4), step=3)
    gone = run / "segments" / f"{segment(2).digest}.safetensors"
    gone.unlink()
    found = store.verify()
    assert [name[-1] for name, error in found.items() if error is not None] == ["1", "2"]
    for name in ("ckpt-000000000001", "ckpt-000000000002"):
        with pytest.raises(CorruptCheckpoint) as caught:
            store.load(name)
        assert str(gone) in str(caught.value)
        assert "is missing" in str(caught.value)
        assert name in str(caught.value)
    assert store.load("latest").info.step == 3


@pytest.mark.parametrize("damage", ["flip", "cut", "longer", "directory", "link", "pipe"])
def test_a_damaged_segment_is_found_said_and_stepped_over(run: Path, damage: str) -> None:
    said: list[str] = []
    store = CheckpointStore(run, report=said.append)
    store.save(states(1), step=1, score=1.0)
    store.save(states(1, 2), step=2, score=2.0)
    path = run / "segments" / f"{segment(2).digest}.safetensors"
    spoil(path, damage)
    assert [name for name, error in store.verify().items() if error] == ["ckpt-000000000002"]
    with store.lock():
        best = store.best()
    assert best is not None
    assert best.step == 1
    assert len(said) == 1
    assert path.name in said[0]
    assert "quarantine" in said[0]
    store.gc()
    assert path.name.removesuffix(".safetensors") in stored(run), (
        "what a quarantined checkpoint names is kept"
    )


def spoil(path: Path, damage: str) -> None:
    content = bytearray(path.read_bytes())
    path.unlink()
    if damage == "flip":
        content[-1] ^= 1
    elif damage == "cut":
        del content[-1]
    elif damage == "longer":
        content.append(0)
    if damage == "directory":
        path.mkdir()
    elif damage == "link":
        path.with_name("elsewhere").write_bytes(content)
        path.symlink_to("elsewhere")
    elif damage == "pipe":
        os.mkfifo(path)
    else:
        path.write_bytes(content)


@pytest.mark.parametrize("damage", ["flip", "cut", "longer", "link", "pipe"])
def test_saving_replaces_a_damaged_segment_which_heals_older_checkpoints(run: Path, damage: str) -> None:
    store = CheckpointStore(run)
    store.save(states(1, 2), step=1)
    path = run / "segments" / f"{segment(2).digest}.safetensors"
    spoil(path, damage)
    os.utime(path, ns=(1, 1), follow_symlinks=False)
    assert store.verify()["ckpt-000000000001"] is not None
    store.save(states(1, 2), step=2)
    assert set(store.verify().values()) == {None}
    assert set(CheckpointStore(run).verify().values()) == {None}


def test_a_quarantined_checkpoint_can_still_be_read_and_put_back(run: Path) -> None:
    store = CheckpointStore(run, keep=1)
    store.save(states(1, 2), step=1)
    ward = store.quarantine("ckpt-000000000001")
    for step in (2, 3):
        store.save(states(step + 1), step=step)
    assert store.load(ward).components["agent"]["replay"]["segments"] == [segment(1), segment(2)]
    ward.rename(run / "ckpt-000000000001")
    assert set(store.verify().values()) == {None}
    shutil.rmtree(run / "ckpt-000000000001")
    store.gc()
    assert stored(run) == digests(4)


def test_damaged_newer_and_renamed_checkpoints_keep_their_segments(run: Path) -> None:
    store = CheckpointStore(run, report=lambda text: None)
    for step in (1, 2, 3):
        store.save(states(step), step=step)
    damaged = run / "ckpt-000000000001" / "manifest.json"
    damaged.write_bytes(damaged.read_bytes().replace(b'"step":1', b'"step":7'))
    newer = run / "ckpt-000000000002" / "manifest.json"
    document = {**parse_object(newer.read_bytes()), "min_reader": [9, 0], "format_version": [9, 0]}
    document.pop("digest")
    document["digest"] = hashlib.sha256(canonical(document)).hexdigest()
    newer.write_bytes(canonical(document))
    (run / "ckpt-000000000003").rename(run / "my favourite")
    assert store.gc() == []
    assert stored(run) == digests(1, 2, 3)
    (run / "ckpt-000000000001" / "manifest.json").unlink()
    store.gc()
    assert stored(run) == digests(2, 3)


def test_nothing_is_removed_while_something_cannot_be_read_and_saving_goes_on(run: Path) -> None:
    class Unreadable(FileSystem):
        def entries(self, path: Path) -> Any:
            if path.name == "private":
                raise PermissionError(13, "Permission denied")
            return super().entries(path)

    said: list[str] = []
    store = CheckpointStore(run, fs=Unreadable(), keep=1, report=said.append)
    store.save(states(1), step=1)
    (run / "private").mkdir()
    for step in (2, 3):
        store.save(states(step), step=step)
    assert [i.step for i in store.list()] == [3]
    assert stored(run) == digests(1, 2, 3)
    assert len(said) == 1
    assert "Permission denied" in said[0]
    (run / "private").rmdir()
    store.gc()
    assert stored(run) == digests(3)


def test_unfinished_files_are_removed_and_foreign_ones_are_not(run: Path) -> None:
    CheckpointStore(run).save(states(1), step=1)
    (run / "segments" / ".tmp-dead").write_bytes(b"half")
    (run / "segments" / "notes.txt").write_text("mine")
    assert CheckpointStore(run).gc() == ["segments/.tmp-dead"]
    assert stored(run) == {*digests(1), "notes.txt"}


def test_a_link_in_place_of_the_directory_is_never_followed(run: Path, fast_path: Path) -> None:
    other = fast_path / "other"
    CheckpointStore(other).save(states(1), step=1)
    CheckpointStore(run).save({"agent": {}}, step=0)
    (run / "segments").symlink_to(other / "segments")
    store = CheckpointStore(run)
    assert store.gc() == []
    with pytest.raises(CheckpointNotSaved):
        store.save(states(2), step=2)
    assert stored(other) == digests(1)


def test_a_segment_of_another_spelling_is_refused(run: Path) -> None:
    """Same hash as the manifest says, but not a file that SealedArray would write."""
    from safetensors.numpy import save

    store = CheckpointStore(run)
    info = store.save(states(1), step=1)
    content = save({"other": np.zeros(3)})
    digest = hashlib.sha256(content).hexdigest()
    (run / "segments" / f"{digest}.safetensors").write_bytes(content)
    path = info.path / "manifest.json"
    document = parse_object(path.read_bytes())
    document["segments"]["agent/replay/segments/0"] = {"size": len(content), "sha256": digest}
    document.pop("digest")
    document["digest"] = hashlib.sha256(canonical(document)).hexdigest()
    path.write_bytes(canonical(document))
    with pytest.raises(CorruptCheckpoint, match="no segment that optix wrote"):
        store.load(info.name)


def test_manifest_and_state_have_to_agree_about_segments(run: Path) -> None:
    store = CheckpointStore(run)
    info = store.save(states(1, 2), step=1)
    path = info.path / "manifest.json"
    original = parse_object(path.read_bytes())
    entry = original["segments"]["agent/replay/segments/1"]
    for change in (
        {"agent/replay/segments/0": entry},
        {**original["segments"], "agent/replay/segments/2": entry},
    ):
        document = {**original, "segments": change}
        document.pop("digest")
        document["digest"] = hashlib.sha256(canonical(document)).hexdigest()
        path.write_bytes(canonical(document))
        with pytest.raises(CorruptCheckpoint, match=r"segments/[12]"):
            store.load(info.name)


def test_only_checkpoints_with_segments_need_a_newer_reader(run: Path) -> None:
    store = CheckpointStore(run)
    plain = store.save({"agent": {"w": np.ones(2)}}, step=0)
    sealed = store.save(states(1), step=1)
    assert parse_object((plain.path / "manifest.json").read_bytes())["min_reader"] == [1, 0]
    assert parse_object((sealed.path / "manifest.json").read_bytes())["min_reader"] == [1, 1]


def test_content_digests_tell_segments_apart(run: Path) -> None:
    store = CheckpointStore(run)
    first = store.save(states(1, 2), step=1)
    again = store.save(states(1, 2), step=1)
    assert again.name == first.name, "equal contents are not written twice"
    other = store.save(states(2, 1), step=1)
    assert other.name == "ckpt-000000000001-r1"
    contents = {i.manifest.content for i in (first, other)}
    assert len(contents) == 2
    agents = [i.manifest.components["agent"]["digest"] for i in (first, other)]
    loops = [i.manifest.components["loop"]["digest"] for i in (first, other)]
    assert agents[0] != agents[1]
    assert loops[0] == loops[1]


def test_a_run_can_be_copied_and_moved_as_a_whole_only(run: Path, fast_path: Path) -> None:
    CheckpointStore(run).save(states(1), step=1)
    shutil.copytree(run, fast_path / "copy")
    assert set(CheckpointStore(fast_path / "copy").verify().values()) == {None}
    alone = fast_path / "alone"
    alone.mkdir()
    shutil.copytree(run / "ckpt-000000000001", alone / "ckpt-000000000001")
    with pytest.raises(CorruptCheckpoint, match="Copy a run directory as a whole"):
        CheckpointStore(alone).load("ckpt-000000000001")


def test_segments_that_vanish_with_their_checkpoint_while_it_is_read(run: Path) -> None:
    """A reader without the lock whose checkpoint is pruned meanwhile turns to the next one."""

    class Slow(FileSystem):
        def read(self, path: Path, limit: int) -> bytearray:
            if path.name == f"{segment(1).digest}.safetensors" and len(writer.list()) == 1:
                writer.save(states(2), step=2)
            return super().read(path, limit)

    writer = CheckpointStore(run, keep=1)
    writer.save(states(1), step=1)
    said: list[str] = []
    assert CheckpointStore(run, fs=Slow(), report=said.append).load("latest").info.step == 2
    assert said == []


def test_verifying_all_reads_shared_segments_once(run: Path) -> None:
    store = CheckpointStore(run)
    for step in range(4):
        store.save(states(1, 2, open_rows=step), step=step)
    fs = Counting()
    assert set(CheckpointStore(run, fs=fs).verify().values()) == {None}
    assert sorted(n for n in fs.read_names if len(n) > 64) == sorted(
        f"{d}.safetensors" for d in digests(1, 2)
    )


def test_a_changed_array_is_an_error_and_leaves_nothing(run: Path) -> None:
    ring = np.zeros((4, 8), np.uint8)
    sealed = SealedArray(ring)
    assert sealed.digest
    ring[0] = 1
    store = CheckpointStore(run)
    with pytest.raises(RuntimeError, match="detach"):
        store.save({"agent": {"replay": sealed}}, step=1)
    assert sorted(p.name for p in run.iterdir()) == [".lock", "segments"]
    assert stored(run) == set()


def test_non_finite_sealed_arrays_are_refused(run: Path) -> None:
    from optix_core.errors import NonFiniteState

    with pytest.raises(NonFiniteState, match="agent/x"):
        CheckpointStore(run).save({"agent": {"x": SealedArray(np.array([1.0, np.nan]))}}, step=1)


def test_preflight_counts_segments_once(run: Path) -> None:
    class Small(FileSystem):
        def free_bytes(self, path: Path) -> int:
            return 20 * 2**20

    store = CheckpointStore(run, fs=Small())
    store.preflight(2**20, 16 * 2**20)
    with pytest.raises(CheckpointError, match="one set of segments"):
        store.preflight(2**20, 18 * 2**20)


def test_the_registry_asks_for_the_space_of_an_agent_with_segments(run: Path) -> None:
    class Small(FileSystem):
        def free_bytes(self, path: Path) -> int:
            return 3 * 2**20

    class Agent:
        def __init__(self, rows: int) -> None:
            self.rows = rows

        def state_dict(self) -> dict[str, Any]:
            return {"replay": segment(1, rows=self.rows)}

        def load_state_dict(self, state: Any) -> None: ...

    registry = CheckpointRegistry(run, fs=Small())
    registry.preflight(Agent(2 * 2**17))  # type: ignore[arg-type]  # 2 MiB, once
    with pytest.raises(CheckpointError, match="bytes free"):
        registry.preflight(Agent(4 * 2**17))  # type: ignore[arg-type]


def test_the_message_of_a_full_disk_counts_what_is_missing(run: Path) -> None:
    class Full(FileSystem):
        full = False

        def create(self, path: Path) -> int:
            if self.full:
                raise OSError(28, "No space left on device")
            return super().create(path)

    fs = Full()
    store = CheckpointStore(run, fs=fs)
    store.save({"agent": {"replay": [segment(1, 10**5)]}}, step=1)
    fs.full = True
    with pytest.raises(CheckpointNotSaved) as caught:
        store.save({"agent": {"replay": [segment(1, 10**5), segment(2, 10**6)]}}, step=2)
    assert "It needs 8,000," in str(caught.value)


def test_a_refused_save_is_repeated_without_writing_twice(run: Path) -> None:
    class NoManifest(Counting):
        refuse = True

        def create(self, path: Path) -> int:
            if self.refuse and path.name == "manifest.json":
                raise OSError(28, "No space left on device")
            return super().create(path)

    fs = NoManifest()
    store = CheckpointStore(run, fs=fs)
    with pytest.raises(CheckpointNotSaved):
        store.save(states(1, 2), step=1)
    assert fs.segments_written() == 2
    fs.refuse = False
    store.save(states(1, 3), step=1)
    assert fs.segments_written() == 1
    assert stored(run) == digests(1, 3), "what only the failed save needed is collected"


def named(store: CheckpointStore) -> Sequence[str]:
    return sorted({e.sha256 for i in store.list() for e in i.manifest.segments.values()})


def test_random_rings_never_lack_a_segment(run: Path) -> None:
    rng = np.random.default_rng(3)
    store = CheckpointStore(run, keep=3, report=lambda text: None)
    for step in range(60):
        if rng.random() < 0.2:
            store = CheckpointStore(run, keep=3, report=lambda text: None)
        store.save(states(*rng.integers(0, 12, 4)), step=step, score=float(rng.normal()))
        assert set(store.verify().values()) == {None}
        assert sorted(stored(run)) == named(store)
