"""What a checkpoint says about itself: ``manifest.json``, the last file written and the first one read.

It lists every file with size and SHA-256, every array with dtype and shape, who wrote it and why, and carries
a digest of itself, so that any changed bit anywhere in the checkpoint is found before a byte of it is used.
Paths in it are relative to the checkpoint.
"""

from __future__ import annotations

import hashlib
import math
import os
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import PurePosixPath
from typing import Any, cast

from optix_core.checkpoints.jsonio import JsonObject, JsonProblem, canonical, parse_object
from optix_core.errors import CorruptCheckpoint, IncompatibleCheckpoint

FORMAT = "optix.checkpoint"
VERSION = (1, 1)
"""Major and minor. A minor step adds optional fields; a major one needs a migration. 1.1: ``segments``."""

MANIFEST_NAME = "manifest.json"
STATE_NAME = "state.json"
KINDS = ("exact", "boundary", "weights")

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9 ._+=@:-]{0,199}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """Size in bytes and SHA-256 of one file."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything known about a checkpoint without opening its data.

    Attributes:
        kind: "exact" or "boundary" continue a run (see the resume levels), "weights" is for acting only.
        step: Environment steps learned from so far.
        window: Windows learned from so far.
        sequence: Counts checkpoints written into this directory; the order of "newest".
        session: Random id of the writer's lock period, to tell a re-reached step from a second save.
        run_id: The run it belongs to, if it has one.
        reason: Why it was taken ("improvement", "periodic", "signal", "final", ...).
        keep: "auto", or "always" for one that retention never removes.
        parent: Name and digest of the checkpoint that the run was resumed from.
        score: The number that decided it was worth keeping, or None; only finite scores take part in "best".
        score_state: "finite", "nan", "+inf", "-inf" or "none": what ``score`` was when it is None.
        metrics: Numbers stored with it, in the codec's JSON.
        agent: Id, distribution, version and spaces of the agent.
        architecture: Names, dtypes and shapes of the weights, by path inside the agent's state.
        components: State name to its digest and whether a reader must know it.
        content: Digest of all states together; equal contents have equal digests.
        files: Every file but the manifest.
        segments: Sealed arrays by path inside the states: size and SHA-256 of the files in the run's
            ``segments/`` directory that hold them (see segments.py).
        tensors: Dtype and shape of every array.
        platform: Where it was written; what exact continuation depends on.
        durability: "power" (survives power loss) or "process" (survives a killed process only).
        created: Wall clock, information only.
        digest: SHA-256 of all of this.
    """

    kind: str
    step: int
    window: int
    sequence: int
    session: str
    run_id: str | None = None
    reason: str = ""
    keep: str = "auto"
    parent: JsonObject | None = None
    score: float | None = None
    score_state: str = "none"
    metrics: JsonObject = field(default_factory=dict[str, Any])
    agent: JsonObject = field(default_factory=dict[str, Any])
    architecture: JsonObject = field(default_factory=dict[str, Any])
    components: dict[str, JsonObject] = field(default_factory=dict[str, JsonObject])
    content: str = ""
    files: dict[str, FileEntry] = field(default_factory=dict[str, FileEntry])
    segments: dict[str, FileEntry] = field(default_factory=dict[str, FileEntry])
    tensors: JsonObject = field(default_factory=dict[str, Any])
    platform: JsonObject = field(default_factory=dict[str, Any])
    durability: str = "power"
    created: float = 0.0
    digest: str = ""

    @property
    def size(self) -> int:
        """Bytes in all files of its directory but the manifest itself."""
        return sum(entry.size for entry in self.files.values())

    @property
    def shared_size(self) -> int:
        """Bytes in the segments that it names, which other checkpoints of the run may name, too."""
        return sum({entry.sha256: entry.size for entry in self.segments.values()}.values())

    def to_bytes(self) -> bytes:
        """The manifest as it is stored, with its digest."""
        document: JsonObject = {
            "format": FORMAT,
            "format_version": list(VERSION),
            "min_reader": [1, 1] if self.segments else [1, 0],
        }
        for item in fields(self):
            document[item.name] = getattr(self, item.name)
        for table in ("files", "segments"):
            entries = cast("dict[str, FileEntry]", document[table])
            document[table] = {name: {"size": e.size, "sha256": e.sha256} for name, e in entries.items()}
        document["digest"] = _digest_of(document)
        return canonical(document)

    @classmethod
    def from_bytes(cls, data: bytes | bytearray, where: str) -> Manifest:
        """Read and check a stored manifest.

        Args:
            data: The file's bytes.
            where: Its path, for messages.

        Raises:
            CorruptCheckpoint: It is broken or was changed.
            IncompatibleCheckpoint: A newer optix-core wrote it.
        """
        try:
            document = parse_object(data)
        except JsonProblem as error:
            raise CorruptCheckpoint(f"{where} is broken: {error}.") from None
        if canonical(document) != data:  # some other spelling of the same, such as one more digit of a float
            raise CorruptCheckpoint(f"{where} was changed: it is not in canonical form.")
        if document.get("format") != FORMAT:
            raise CorruptCheckpoint(
                f"{where} is no manifest of a checkpoint: format is {document.get('format')!r}."
            )
        stored, found = document.get("digest"), _digest_of(document)
        if stored != found:
            raise CorruptCheckpoint(f"{where} was changed: its digest is {found}, but it says {stored}.")
        _check_version(document, where)
        try:
            return cls(**_checked(document))
        except (TypeError, ValueError, KeyError) as error:
            raise CorruptCheckpoint(f"{where} is broken: {error}.") from None


def score_parts(score: float | None) -> tuple[float | None, str]:
    """A score as JSON can hold it, and the word for what it was."""
    if score is None:
        return None, "none"
    value = float(score)
    if math.isfinite(value):
        return value, "finite"
    return None, "nan" if math.isnan(value) else ("+inf" if value > 0 else "-inf")


def platform_block() -> JsonObject:
    """What bit-exact continuation depends on; a framework is described only if it is already imported."""
    block: JsonObject = {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
    }
    for name in ("numpy", "gymnasium", "torch", "tensorflow", "jax"):
        version = getattr(sys.modules.get(name), "__version__", None)
        if version is not None:
            block[name] = str(version)
    torch: Any = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_num_threads"):
        block["torch_threads"] = int(torch.get_num_threads())
        block["torch_cpu_capability"] = str(torch.backends.cpu.get_cpu_capability())
    return block


def _digest_of(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical({k: v for k, v in document.items() if k != "digest"})).hexdigest()


def _check_version(document: JsonObject, where: str) -> None:
    version, reader = _pair(document.get("format_version")), _pair(document.get("min_reader"))
    if version is None or reader is None:
        raise CorruptCheckpoint(f"{where} is broken: it has no format version.")
    if version[0] > VERSION[0] or reader > VERSION:
        raise IncompatibleCheckpoint(
            f"{where} has format {version[0]}.{version[1]} and needs a reader of at least "
            f"{reader[0]}.{reader[1]}; this optix-core reads up to {VERSION[0]}.{VERSION[1]}. Install a "
            "newer one: pip install --upgrade optix-core."
        )
    if version[0] < 1:
        raise CorruptCheckpoint(f"{where} is broken: there never was a format {version[0]}.{version[1]}.")


def _pair(value: Any) -> tuple[int, int] | None:
    if isinstance(value, list) and len(cast("list[Any]", value)) == 2:
        major, minor = cast("list[Any]", value)
        if type(major) is int and type(minor) is int:
            return major, minor
    return None


_TYPES: dict[str, type | tuple[type, ...]] = {
    "kind": str,
    "step": int,
    "window": int,
    "sequence": int,
    "session": str,
    "run_id": (str, type(None)),
    "reason": str,
    "keep": str,
    "parent": (dict, type(None)),
    "score": (float, int, type(None)),
    "score_state": str,
    "metrics": dict,
    "agent": dict,
    "architecture": dict,
    "components": dict,
    "content": str,
    "files": dict,
    "segments": dict,
    "tensors": dict,
    "platform": dict,
    "durability": str,
    "created": (float, int),
    "digest": str,
}


_SINCE_1_1 = ("segments",)


def _checked(document: JsonObject) -> JsonObject:
    """Fields of the manifest with their types; fields that a later minor version added are ignored."""
    values: JsonObject = {}
    for name, kind in _TYPES.items():
        if name not in document and name not in _SINCE_1_1:
            raise ValueError(f"{name} is missing")
        value = document.get(name, {})
        if not isinstance(value, kind) or isinstance(value, bool):
            raise TypeError(f"{name} is {value!r}")
        values[name] = value
    if values["kind"] not in KINDS:
        raise ValueError(f"kind is {values['kind']!r}")
    for name in values["files"]:
        if not is_safe_name(name):
            raise ValueError(f"{name!r} is not allowed as the name of a file")
    for table in ("files", "segments"):
        values[table] = {name: _file_entry(name, entry) for name, entry in values[table].items()}
    for name, entry in values["components"].items():
        if not isinstance(entry, dict):
            raise TypeError(f"component {name!r} is {entry!r}")
    return values


def _file_entry(name: str, entry: Any) -> FileEntry:
    if not isinstance(entry, dict):
        raise TypeError(f"file {name!r} is {entry!r}")
    content = cast("JsonObject", entry)
    size, digest = content.get("size"), content.get("sha256")
    if type(size) is not int or size < 0 or not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise ValueError(f"file {name!r} has size {size!r} and digest {digest!r}")
    return FileEntry(size, digest)


def is_safe_name(name: str) -> bool:
    """Whether ``name`` is a relative path that stays inside its directory, with nothing odd in it."""
    parts = PurePosixPath(name).parts
    return (
        0 < len(parts) <= 16
        and name == "/".join(parts)
        and all(_FILE_NAME.fullmatch(part) and not part.endswith(".") for part in parts)
    )
