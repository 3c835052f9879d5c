"""Sealed arrays: known by their digest, shared, and independent of their maker's memory when it matters."""

from __future__ import annotations

import copy
import gc
import hashlib
import pickle
import threading
import weakref
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from optix_core.state import SEALED_DTYPES, SealedArray, arrays_in


@pytest.mark.parametrize("dtype", list(SEALED_DTYPES))
@pytest.mark.parametrize("shape", [(), (0, 4), (3,), (2, 3, 5)])
def test_the_digest_is_that_of_a_safetensors_file(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.arange(int(np.prod(shape))).reshape(shape).astype(dtype)
    sealed = SealedArray(array)
    content = sealed.serialized()
    assert content == save({"data": array})
    assert sealed.digest == hashlib.sha256(content).hexdigest()
    assert sealed.file_size == len(content)
    back = load(content)["data"]
    assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())
    assert (sealed.dtype, sealed.shape, sealed.nbytes) == (array.dtype, array.shape, array.nbytes)


def test_the_digest_covers_dtype_shape_and_every_bit() -> None:
    base = np.arange(16, dtype=np.uint8)
    digests = {
        SealedArray(a).digest for a in (base, base.reshape(4, 4), base.view(np.int8), base.view(np.int16))
    }
    for bit in range(8 * base.size):
        changed = base.copy()
        changed[bit // 8] ^= 1 << bit % 8
        digests.add(SealedArray(changed).digest)
    assert len(digests) == 4 + 8 * base.size


def test_equal_contents_are_equal_and_others_not() -> None:
    a, b = SealedArray(np.arange(3)), SealedArray(np.arange(3))
    assert a == a  # noqa: PLR0124  # identity is a path of its own
    assert a == b
    assert not a != b  # noqa: SIM202
    assert a != SealedArray(np.arange(3, 6))
    assert a != SealedArray(np.arange(3, dtype=np.int32))
    assert a != "text"
    assert {"x": [a]} == {"x": [b]}


def test_it_travels_to_other_processes_with_its_content_and_digest() -> None:
    memory = np.arange(6).reshape(2, 3)
    sealed = SealedArray(memory)
    digest = sealed.digest
    there = pickle.loads(pickle.dumps(sealed))
    assert there == sealed
    assert there.digest_known
    assert there.digest == digest
    there.detach()
    assert there.serialized() == sealed.serialized()
    assert not pickle.loads(pickle.dumps(SealedArray(memory))).digest_known


def test_it_has_no_hash_so_that_sets_cannot_merge_two_views() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        weakref.WeakSet([SealedArray(np.zeros(2))])


def test_detaching_makes_it_independent_of_live_memory() -> None:
    ring = np.zeros((4, 8), np.uint8)
    sealed = SealedArray(ring[1:3])
    assert np.shares_memory(sealed.array, ring)
    digest = sealed.digest
    sealed.detach()
    ring[:] = 7
    assert not sealed.array.any()
    assert hashlib.sha256(sealed.serialized()).hexdigest() == digest == sealed.digest
    copied = sealed.array
    sealed.detach()
    assert sealed.array is copied, "copied twice"


def test_memory_that_changed_without_detaching_is_never_written_under_the_old_name() -> None:
    ring = np.zeros(8, np.uint8)
    sealed = SealedArray(ring)
    assert sealed.digest
    ring[3] = 1
    with pytest.raises(RuntimeError, match="detach"):
        sealed.serialized()


def test_the_content_is_read_only_and_the_makers_array_is_not() -> None:
    array = np.zeros(3)
    sealed = SealedArray(array)
    array[0] = 1.0
    for view in (sealed.array, np.asarray(sealed)):
        with pytest.raises(ValueError, match="read-only"):
            view[0] = 2.0
    mine = np.array(sealed)
    mine[0] = 3.0
    assert sealed.array[0] == 1.0
    assert np.asarray(sealed, dtype=np.float32).dtype == np.float32


def test_copies_of_a_state_share_it() -> None:
    sealed = SealedArray(np.zeros(3))
    state = {"a": [sealed]}
    assert copy.deepcopy(state)["a"][0] is sealed
    assert copy.copy(sealed) is sealed


def test_its_owner_can_see_whether_anybody_still_has_it() -> None:
    sealed: Any = SealedArray(np.zeros(3))
    seen = weakref.ref(sealed)
    assert seen() is sealed
    del sealed
    gc.collect()
    assert seen() is None


def test_a_known_digest_is_not_computed_again() -> None:
    array = np.arange(5)
    digest = SealedArray(array).digest
    known = SealedArray(array.copy(), digest=digest)
    assert known.digest_known
    assert known == SealedArray(array)
    wrong = SealedArray(array, digest="0" * 64)
    assert wrong.digest == "0" * 64, "it was computed"


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(2, np.complex64),
        np.zeros(2, ">f8"),
        np.zeros(2, [("x", "f4")]),
        np.array(["text"]),
        np.array([None]),
        np.zeros((2, 3), order="F"),
        np.zeros((4, 4))[::2],
    ],
    ids=lambda a: str(a.dtype) if a.flags.c_contiguous else "not row-major",
)
def test_what_cannot_be_stored_is_refused_at_once(array: Any) -> None:
    with pytest.raises(ValueError, match=r"can be sealed|cannot be sealed"):
        SealedArray(array)


def test_its_repr_does_not_show_the_content() -> None:
    sealed = SealedArray(np.full(10**6, 123.456))
    assert repr(sealed) == "SealedArray(float64[1000000])"
    assert sealed.digest[:12] in repr(sealed)
    assert len(repr(sealed)) < 60


def test_walking_a_state_finds_it() -> None:
    array = np.arange(3)
    assert list(arrays_in({"a": {"b": [0, SealedArray(array)]}, "c": array})) == ["a/b/1", "c"]


def test_digest_and_detach_from_several_threads() -> None:
    """A digest taken while the owner detaches and overwrites is that of the old content."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        ring = rng.integers(0, 256, 200_000, dtype=np.uint8)
        expected = SealedArray(ring.copy()).digest
        sealed, found = SealedArray(ring), list[str]()
        threads = [threading.Thread(target=lambda s=sealed, f=found: f.append(s.digest)) for _ in range(3)]
        for thread in threads:
            thread.start()
        sealed.detach()
        ring[:] = 0
        for thread in threads:
            thread.join()
        assert found == [expected] * 3
