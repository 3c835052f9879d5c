"""Every single changed bit is found, wherever it is, and nothing is loaded from what was changed."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optix_core.checkpoints import CheckpointStore, reader
from optix_core.errors import CorruptCheckpoint

ROOT = Path("/run")


@pytest.fixture
def state(any_state: Any) -> Any:
    """Every test here is made with and without sealed arrays."""
    return any_state


@pytest.fixture
def saved(fast_path: Path, state: Any, tree: Any) -> dict[str, Any]:
    """Two small checkpoints as nested dicts."""
    store = CheckpointStore(fast_path)
    store.save(state(1), step=1, score=1.0)
    store.save(state(2), step=2, score=2.0)
    return tree(fast_path)


def accepts(memory_fs: Any, tree: dict[str, Any], name: str) -> bool:
    try:
        reader.load(memory_fs(ROOT, tree), ROOT / name)
    except CorruptCheckpoint:
        return False
    return True


def flips_survived(memory_fs: Any, tree: dict[str, Any], name: str) -> tuple[int, list[tuple[str, int]]]:
    count, survivors = 0, []
    for folder, file, content in files_of(tree, name):
        for bit in range(8 * len(content)):
            changed = bytearray(content)
            changed[bit // 8] ^= 1 << (bit % 8)
            count += 1
            if accepts(memory_fs, {**tree, folder: {**tree[folder], file: bytes(changed)}}, name):
                survivors.append((file, bit))
    return count, survivors


def files_of(tree: dict[str, Any], name: str) -> list[tuple[str, str, bytes]]:
    """Folder, name and content of all that belongs to a checkpoint, segments that it names included."""
    manifest = tree[name]["manifest.json"].decode()
    found = [(name, file, content) for file, content in tree[name].items()]
    for file, content in tree.get("segments", {}).items():
        if file.removesuffix(".safetensors") in manifest:
            found.append(("segments", file, content))
    return found


def test_every_single_bit_flip_is_found(memory_fs: Any, saved: dict[str, Any]) -> None:
    name = "ckpt-000000000002"
    assert accepts(memory_fs, saved, name)
    count, survivors = flips_survived(memory_fs, saved, name)
    assert survivors == []
    assert count == 8 * sum(len(content) for *_, content in files_of(saved, name)) > 10_000


@pytest.mark.slow
def test_every_single_bit_flip_of_a_larger_checkpoint_is_found(
    fast_path: Path, tree: Any, memory_fs: Any
) -> None:
    store = CheckpointStore(fast_path)
    rng = np.random.default_rng(0)
    store.save({"agent": {"weights": {"w": rng.random((30, 30))}}, "loop": {"x": list(range(50))}}, step=2)
    count, survivors = flips_survived(memory_fs, tree(fast_path), "ckpt-000000000002")
    assert survivors == []
    assert count >= 65_536, count


def test_the_flip_test_can_fail(
    memory_fs: Any, saved: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the comparison of hashes, flips in arrays go unnoticed."""
    name = "ckpt-000000000002"
    monkeypatch.setattr(reader, "_read_verified", lambda fs, info, file: fs.read(info.path / file, 10**9))
    only = {**saved, name: {**saved[name]}}
    changed = bytearray(only[name]["agent.safetensors"])
    changed[-1] ^= 1
    only[name]["agent.safetensors"] = bytes(changed)
    assert accepts(memory_fs, only, name)


def test_truncation_at_every_byte_of_every_file_is_found(memory_fs: Any, saved: dict[str, Any]) -> None:
    name, count = "ckpt-000000000002", 0
    for folder, file, content in files_of(saved, name):
        for length in range(len(content)):
            count += 1
            assert not accepts(
                memory_fs, {**saved, folder: {**saved[folder], file: content[:length]}}, name
            ), (file, length)
        assert not accepts(memory_fs, {**saved, folder: {**saved[folder], file: content + b"\0"}}, name)
    assert count == sum(len(content) for *_, content in files_of(saved, name))


def test_segments_exchanged_or_removed_are_found(fast_path: Path, tree: Any, memory_fs: Any) -> None:
    from optix_core.state import SealedArray

    store = CheckpointStore(fast_path)
    for step in (1, 2):
        arrays = [SealedArray(np.full(8, step * 10 + i, np.uint8)) for i in range(3)]
        store.save({"agent": {"replay": arrays}}, step=step)
    saved, name = tree(fast_path), "ckpt-000000000002"
    mine = [file for folder, file, _ in files_of(saved, name) if folder == "segments"]
    assert len(mine) == 3
    for file in mine:
        removed = copy.deepcopy(saved)
        del removed["segments"][file]
        assert not accepts(memory_fs, removed, name)
        assert accepts(memory_fs, removed, "ckpt-000000000001")
        for other in set(saved["segments"]) - {file}:
            swapped = copy.deepcopy(saved)
            swapped["segments"][file] = saved["segments"][other]
            assert not accepts(memory_fs, swapped, name)
    assert not accepts(memory_fs, {key: value for key, value in saved.items() if key != "segments"}, name)


def test_every_file_removed_added_or_swapped_is_found(memory_fs: Any, saved: dict[str, Any]) -> None:
    first, second = "ckpt-000000000001", "ckpt-000000000002"
    for file in saved[second]:
        removed = copy.deepcopy(saved)
        del removed[second][file]
        assert not accepts(memory_fs, removed, second), file
        as_directory = copy.deepcopy(saved)
        as_directory[second][file] = {"inside": b""}
        assert not accepts(memory_fs, as_directory, second), file
        swapped = copy.deepcopy(saved)
        swapped[second][file], swapped[first][file] = saved[first][file], saved[second][file]
        if file == "manifest.json":
            assert not accepts(memory_fs, swapped, second)
            assert not accepts(memory_fs, swapped, first)
        else:
            assert not accepts(memory_fs, swapped, second), file
    for extra in ("x", "agent.safetensors.bak", "weights", ".hidden", "manifest.json~"):
        added = copy.deepcopy(saved)
        added[second][extra] = b"x"
        assert not accepts(memory_fs, added, second), extra


def test_two_files_of_one_checkpoint_exchanged_are_found(memory_fs: Any, saved: dict[str, Any]) -> None:
    name = "ckpt-000000000002"
    changed = copy.deepcopy(saved)
    content = changed[name]
    content["agent.safetensors"], content["training.safetensors"] = (
        content["training.safetensors"],
        content["agent.safetensors"],
    )
    assert not accepts(memory_fs, changed, name)


def test_the_error_says_file_expected_and_found(fast_path: Path, state: Any) -> None:
    store = CheckpointStore(fast_path)
    info = store.save(state(1), step=1)
    target = info.path / "agent.safetensors"
    content = bytearray(target.read_bytes())
    content[-1] ^= 1
    target.write_bytes(content)
    with pytest.raises(CorruptCheckpoint) as caught:
        store.load(info.name)
    assert str(target) in str(caught.value)
    assert info.manifest.files["agent.safetensors"].sha256 in str(caught.value)
