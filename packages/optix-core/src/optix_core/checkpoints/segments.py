"""Sealed arrays on disk: one file each, named by its hash, shared by all checkpoints of a run.

A replay memory of a million transitions hardly differs between two checkpoints. Its full parts are
:class:`~optix_core.state.SealedArray` objects; each is written once, as ``segments/<sha256>.safetensors``, and
manifests name it with size and hash.

Writing follows the order of commit.py: the directory durable in its parent, each file written under a temporary
name, fsynced, renamed, then the directory fsynced, all before the manifest that names them. A name therefore
always stands for whole content. Removing comes after the last manifest that names a segment is durably gone.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
from collections.abc import Collection, Iterable
from pathlib import Path

from optix_core.checkpoints.commit import QUARANTINE, TEMPORARY, TRASH
from optix_core.checkpoints.filesystem import FileSystem, write_file
from optix_core.checkpoints.jsonio import MAX_JSON_BYTES
from optix_core.checkpoints.manifest import MANIFEST_NAME, FileEntry
from optix_core.state import SealedArray

SEGMENTS = "segments"
SUFFIX = ".safetensors"

_NAME = re.compile(r"([0-9a-f]{64})\.safetensors")
_DIGEST_IN_TEXT = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


def segments_directory(checkpoint: Path) -> Path:
    """Where the segments of the checkpoint in directory ``checkpoint`` lie, also if it is in quarantine."""
    parent = checkpoint.parent
    return (parent.parent if parent.name == QUARANTINE else parent) / SEGMENTS


def segment_name(digest: str) -> str:
    """The file's name inside ``segments/``."""
    return f"{digest}{SUFFIX}"


class Segments:
    """The writing side of one run's segments; the caller holds the lock.

    Args:
        fs: System calls.
        run_dir: The run directory.
    """

    def __init__(self, fs: FileSystem, run_dir: Path) -> None:
        self._fs = fs
        self._run_dir = run_dir
        self._directory = run_dir / SEGMENTS
        # What this object has seen to be right; the stamp changes if anybody writes to the file afterwards.
        self._verified: dict[str, tuple[int, ...]] = {}
        self._durable: set[str] = set()
        self._names_durable = False

    def write(self, arrays: Iterable[SealedArray], *, sync: bool) -> None:
        """Make sure that each array is stored; what is present and right is not written again.

        Args:
            arrays: What a manifest is about to name.
            sync: Whether they have to survive a power failure.

        Raises:
            OSError: The disk refused; what was written is complete, and is used or collected later.
            RuntimeError: The content of an array changed after its digest was taken.
        """
        needed = {array.digest: array for array in arrays}
        if not needed:
            return
        self._make_directory()
        if sync and not self._names_durable:
            # Also for a directory found here: its maker may have died before the sync, or have made none.
            self._fs.sync_directory(self._run_dir)
        for digest, array in needed.items():
            path = self._directory / segment_name(digest)
            if not self._intact(path, digest, array.file_size):
                self._create(path, array, sync=sync)
            elif sync and digest not in self._durable:
                self._fs.sync_file(path)
            if sync:
                self._durable.add(digest)
        if sync and not self._names_durable:
            self._fs.sync_directory(self._directory)
            self._names_durable = True

    def missing_bytes(self, arrays: Iterable[SealedArray]) -> int:
        """Bytes that :meth:`write` has to write, judged by names and sizes."""
        needed = {array.digest: array.file_size for array in arrays}
        for digest, size in list(needed.items()):
            try:
                if self._fs.size(self._directory / segment_name(digest)) == size:
                    del needed[digest]
            except OSError:
                continue  # not there, or no file: it is missing
        return sum(needed.values())

    def note_verified(self, entries: Iterable[FileEntry]) -> None:
        """Remember that these were just read and are right, so that saving need not read them again."""
        for entry in entries:
            try:
                self._verified[entry.sha256] = self._fs.stamp(self._directory / segment_name(entry.sha256))
            except OSError:
                self._verified.pop(entry.sha256, None)

    def collect(self, named: Collection[str] | None) -> list[str]:
        """Remove unfinished files and segments that nobody needs; returns what was removed.

        Args:
            named: Digests of the segments that stay; None: which are needed is unknown, so all stay.

        Raises:
            OSError: Something could not be removed.
        """
        removed: list[str] = []
        if not self._present():
            return removed
        for entry in self._fs.entries(self._directory):
            found = _NAME.fullmatch(entry.name)
            unnamed = found is not None and named is not None and found[1] not in named
            if entry.kind == "directory" or not (unnamed or entry.name.startswith(TEMPORARY)):
                continue
            self._fs.unlink(self._directory / entry.name)
            if found is not None:
                self._verified.pop(found[1], None)
                self._durable.discard(found[1])
            removed.append(f"{SEGMENTS}/{entry.name}")
        return removed

    def _present(self) -> bool:
        entries = self._fs.entries(self._run_dir)
        return any(entry.name == SEGMENTS and entry.kind == "directory" for entry in entries)

    def _make_directory(self) -> None:
        if not self._present():
            self._names_durable = False
            self._fs.mkdir(self._directory)

    def _intact(self, path: Path, digest: str, size: int) -> bool:
        try:
            stamp = self._fs.stamp(path)
        except FileNotFoundError:
            return False
        if self._verified.get(digest) == stamp:
            return True
        self._durable.discard(digest)
        try:
            if hashlib.sha256(self._fs.read(path, size)).hexdigest() != digest:
                return False
        except OSError:  # too long, or unreadable: the new file takes its place in one step
            return False
        self._verified[digest] = stamp
        return True

    def _create(self, path: Path, array: SealedArray, *, sync: bool) -> None:
        temporary = self._directory / f"{TEMPORARY}{secrets.token_hex(8)}"
        content = array.serialized()
        try:
            write_file(self._fs, temporary, content, sync=sync)
            self._names_durable = False
            self._fs.rename(temporary, path)
        except BaseException:
            with contextlib.suppress(
                OSError
            ):  # what led here is the error to see; collect() removes the rest
                self._fs.unlink(temporary)
            raise
        self._verified[array.digest] = self._fs.stamp(path)


def digests_beyond(fs: FileSystem, run_dir: Path, known: Collection[str]) -> set[str]:
    """Digests that anything but the intact checkpoints ``known`` might name.

    Damaged, newer, renamed and quarantined checkpoints keep their segments, so that a person can still look at
    or repair them. Their manifests are searched as text, which also works for those that do not parse.

    Args:
        fs: System calls.
        run_dir: The run directory.
        known: Names of the checkpoints whose manifests the caller has read.

    Raises:
        OSError: Some manifest cannot be read now; nothing may be removed then.
    """
    places: list[Path] = []
    for entry in fs.entries(run_dir):
        if entry.kind != "directory" or entry.name in known or entry.name.startswith((TEMPORARY, TRASH)):
            continue
        place = run_dir / entry.name
        if entry.name == QUARANTINE:
            places += [place / inner.name for inner in fs.entries(place) if inner.kind == "directory"]
        elif entry.name != SEGMENTS:
            places.append(place)
    found: set[str] = set()
    for place in places:
        kinds = {entry.name: entry.kind for entry in fs.entries(place)}
        if kinds.get(MANIFEST_NAME) == "file" and fs.size(place / MANIFEST_NAME) <= MAX_JSON_BYTES:
            text = bytes(fs.read(place / MANIFEST_NAME, MAX_JSON_BYTES))
            found.update(match.decode("ascii") for match in _DIGEST_IN_TEXT.findall(text))
    return found
