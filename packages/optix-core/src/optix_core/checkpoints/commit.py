"""The order of system calls that makes a checkpoint appear whole and stay, and disappear whole.

Writing: a fresh ``.tmp-`` directory, each file written and fsynced, the manifest last, the directory fsynced,
one rename, the run directory fsynced.
Removing: one rename to ``.trash-``, the run directory fsynced (else a power failure could undo the rename but
not the removals), then the removals. So whatever happens in between, a directory named ``ckpt-*`` is
complete. There is no index file that could disagree with the directory.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from optix_core.checkpoints.filesystem import FileSystem, remove_tree, write_file
from optix_core.checkpoints.manifest import MANIFEST_NAME, FileEntry, is_safe_name
from optix_core.errors import CheckpointError

TEMPORARY = ".tmp-"
TRASH = ".trash-"
QUARANTINE = "quarantine"
WEIGHTS_NAME = "weights"


@dataclass(frozen=True, slots=True)
class Sealed:
    """The content of a file with its size and hash."""

    content: bytes
    entry: FileEntry

    @classmethod
    def of(cls, content: bytes) -> Sealed:
        """Seal ``content``."""
        return cls(content, FileEntry(len(content), hashlib.sha256(content).hexdigest()))


def commit(
    fs: FileSystem,
    run_dir: Path,
    files: Mapping[str, Sealed],
    manifest: Callable[[dict[str, FileEntry]], tuple[str, bytes]],
    opaque: Callable[[Path], None] | None = None,
    *,
    sync: bool = True,
) -> str:
    """Write one checkpoint.

    Args:
        fs: System calls.
        run_dir: Existing directory that the caller has locked.
        files: What to write, by name.
        manifest: Given sizes and digests of all files: the checkpoint's name and the manifest's bytes.
        opaque: Writes more files, whose names begin with ``weights``, into the directory that it is given.
        sync: Whether the checkpoint has to survive a power failure.

    Returns:
        The checkpoint's name.

    Raises:
        OSError: Nothing was committed, and what could be removed was removed.
    """
    temporary = run_dir / f"{TEMPORARY}{secrets.token_hex(8)}"
    visible: Path | None = None
    try:
        fs.mkdir(temporary)
        entries: dict[str, FileEntry] = {}
        for name, sealed in files.items():
            write_file(fs, temporary / name, sealed.content, sync=sync)
            entries[name] = sealed.entry
        if opaque is not None:
            opaque(temporary / WEIGHTS_NAME)
            entries |= _take_over(fs, temporary, set(files), sync=sync)
        name, content = manifest(entries)
        write_file(fs, temporary / MANIFEST_NAME, content, sync=sync)
        if sync:
            fs.sync_directory(temporary)
        target = run_dir / name
        fs.rename(temporary, target)
        visible = target
        if sync:
            fs.sync_directory(run_dir)
    except BaseException:
        _undo(fs, temporary if visible is None else visible, run_dir)
        raise
    return name


def discard(fs: FileSystem, path: Path, *, sync: bool = True) -> None:
    """Remove a committed checkpoint."""
    trash = path.parent / f"{TRASH}{secrets.token_hex(8)}"
    fs.rename(path, trash)
    if sync:
        fs.sync_directory(path.parent)
    remove_tree(fs, trash)


def quarantine(fs: FileSystem, path: Path) -> Path:
    """Move a damaged checkpoint aside, where it can be looked at; returns where to."""
    ward = path.parent / QUARANTINE
    if not any(entry.name == QUARANTINE for entry in fs.entries(path.parent)):
        fs.mkdir(ward)
    target = ward / f"{path.name}-{secrets.token_hex(4)}"
    fs.rename(path, target)
    fs.sync_directory(path.parent)
    return target


def collect_garbage(fs: FileSystem, run_dir: Path) -> list[str]:
    """Remove what interrupted saves and removals left; the caller holds the lock. Returns the names removed."""
    garbage = [entry for entry in fs.entries(run_dir) if entry.name.startswith((TEMPORARY, TRASH))]
    if any(entry.name.startswith(TRASH) for entry in garbage):
        fs.sync_directory(run_dir)  # its rename may not be on the disk yet, see the module docstring
    for entry in garbage:
        if entry.kind == "directory":
            remove_tree(fs, run_dir / entry.name)
        else:
            fs.unlink(run_dir / entry.name)
    return [entry.name for entry in garbage]


def files_below(fs: FileSystem, directory: Path) -> list[str]:
    """Relative names of all files in a tree, sorted.

    Raises:
        CheckpointError: It holds a link, pipe or device.
    """
    found: list[str] = []
    pending = [PurePosixPath()]
    while pending:
        place = pending.pop()
        for entry in fs.entries(directory / place):
            name = place / entry.name
            if entry.kind == "directory":
                pending.append(name)
            elif entry.kind == "file":
                found.append(str(name))
            else:
                raise CheckpointError(
                    f"{directory / name} is neither a file nor a directory; checkpoints hold nothing else."
                )
    return sorted(found)


def _take_over(fs: FileSystem, directory: Path, ours: set[str], *, sync: bool) -> dict[str, FileEntry]:
    """Hash and sync what an agent wrote by itself."""
    entries: dict[str, FileEntry] = {}
    folders: set[PurePosixPath] = set()
    for name in files_below(fs, directory):
        if name in ours:
            continue
        if not name.startswith(WEIGHTS_NAME) or not is_safe_name(name):
            raise CheckpointError(
                f"save_weights wrote {name!r}; it has to write the file or directory that it was given, or "
                "names beginning with it, with letters, digits and ordinary punctuation. Nothing was saved.",
                code="E-CKPT-UNSAVABLE",
            )
        path = directory / name
        if sync:
            fs.sync_file(path)
        content = fs.read(path, fs.size(path))
        entries[name] = FileEntry(len(content), hashlib.sha256(content).hexdigest())
        folders.update(PurePosixPath(name).parents)
    if not entries:
        raise CheckpointError(
            f"save_weights({str(directory / WEIGHTS_NAME)!r}) returned without writing anything there. "
            "Nothing was saved.",
            code="E-CKPT-UNSAVABLE",
        )
    if sync:
        for folder in sorted(folders - {PurePosixPath()}, reverse=True):
            fs.sync_directory(directory / folder)
    return entries


def _undo(fs: FileSystem, path: Path, run_dir: Path) -> None:
    """Take back a failed save as far as the disk allows; the next holder of the lock removes what is left."""
    try:
        if path.name.startswith(TEMPORARY):
            if any(entry.name == path.name for entry in fs.entries(run_dir)):
                remove_tree(fs, path)
        else:  # visible, but it may not survive: better gone than believed. Emptied later, once the rename is durable.
            fs.rename(path, run_dir / f"{TRASH}{secrets.token_hex(8)}")
    except OSError:
        # The error that led here is what the caller has to see. A remaining temporary directory is never read
        # as a checkpoint; a remaining visible one is complete.
        return
