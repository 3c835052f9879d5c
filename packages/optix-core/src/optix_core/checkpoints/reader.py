"""Reading checkpoints: everything is verified before anything of it is handed out."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optix_core.checkpoints.codec import Arrays, CodecProblem, decode_components
from optix_core.checkpoints.commit import WEIGHTS_NAME, files_below
from optix_core.checkpoints.filesystem import FileSystem, NotARegularFile
from optix_core.checkpoints.jsonio import MAX_JSON_BYTES, JsonProblem, canonical, parse_object
from optix_core.checkpoints.manifest import MANIFEST_NAME, STATE_NAME, FileEntry, Manifest
from optix_core.checkpoints.segments import segment_name, segments_directory
from optix_core.checkpoints.tensors import TensorProblem, describe, deserialize
from optix_core.errors import CheckpointError, CorruptCheckpoint, IncompatibleCheckpoint
from optix_core.state import SealedArray, State, sealed_header

TENSOR_SUFFIX = ".safetensors"


@dataclass(frozen=True, slots=True)
class CheckpointInfo:
    """A checkpoint by its manifest; its data has not been looked at.

    Attributes:
        path: Its directory.
        manifest: What it says about itself.
    """

    path: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """Its name inside the run directory."""
        return self.path.name

    @property
    def step(self) -> int:
        """Environment steps learned from."""
        return self.manifest.step

    @property
    def window(self) -> int:
        """Windows learned from."""
        return self.manifest.window

    @property
    def sequence(self) -> int:
        """Its place in the order of writing."""
        return self.manifest.sequence

    @property
    def score(self) -> float | None:
        """The finite number by which it takes part in "best", or None."""
        return self.manifest.score

    @property
    def pinned(self) -> bool:
        """Whether retention never removes it."""
        return self.manifest.keep == "always"

    @property
    def family(self) -> str:
        """Equal for equal agents of equal architecture."""
        identity = [self.manifest.agent.get("id"), self.manifest.architecture]
        return hashlib.sha256(canonical(identity)).hexdigest()


@dataclass(frozen=True, slots=True)
class LoadedCheckpoint:
    """A verified checkpoint.

    Attributes:
        info: Where it lies and what it says about itself.
        components: State by name, such as "agent" and "pipeline".
        weights: What the agent's own ``save_weights`` wrote, for agents without ``state_dict``; the path to
            pass to ``load_weights``.
    """

    info: CheckpointInfo
    components: dict[str, State] = field(default_factory=dict[str, State])
    weights: Path | None = None

    def require_known(self, known: Collection[str]) -> None:
        """Refuse to go on without a state that somebody has to take up.

        Args:
            known: Component names that the caller can restore.

        Raises:
            IncompatibleCheckpoint: It holds a required state that is not among them.
        """
        for name, entry in self.info.manifest.components.items():
            if entry.get("required") and name not in known:
                provider = entry.get("provider")
                remedy = (
                    f"install {provider}"
                    if provider
                    else "use the configuration that the run was started with"
                )
                raise IncompatibleCheckpoint(
                    f"{self.info.path} holds the state of {name!r}, which nothing here can restore; "
                    f"{remedy}. Nothing was changed."
                )


def read_info(fs: FileSystem, path: Path) -> CheckpointInfo:
    """The manifest of the checkpoint in directory ``path``.

    Raises:
        CorruptCheckpoint: Missing, unreadable, broken or changed.
        IncompatibleCheckpoint: Written by a newer optix-core.
        FileNotFoundError: The directory itself is not there (any more).
    """
    where = path / MANIFEST_NAME
    try:
        data = fs.read(where, MAX_JSON_BYTES)
    except OSError as error:
        raise _unreadable(fs, path, MANIFEST_NAME, error) from error
    return CheckpointInfo(path, Manifest.from_bytes(data, str(where)))


def verify(fs: FileSystem, path: Path, seen: dict[Path, str] | None = None) -> CheckpointInfo:
    """Check every byte of the checkpoint in directory ``path``, and of the segments that it names.

    Args:
        fs: System calls.
        path: The checkpoint's directory.
        seen: Segments that this sweep over several checkpoints has found right, with their digests; they are
            not read again, and new ones are added.

    Raises:
        CorruptCheckpoint: See the message for file, expected and found.
        IncompatibleCheckpoint: Written by a newer optix-core.
        FileNotFoundError: The directory is not there (any more).
    """
    with _unless_vanished(fs, path):
        info = read_info(fs, path)
        for name in _expected_files(fs, info):
            _read_verified(fs, info, name)
        read_segments(fs, info, {} if seen is None else seen)
        return info


def load(fs: FileSystem, path: Path) -> LoadedCheckpoint:
    """Read and check the checkpoint in directory ``path``; raises what :func:`verify` does."""
    with _unless_vanished(fs, path):
        return _load(fs, path)


def _load(fs: FileSystem, path: Path) -> LoadedCheckpoint:
    info = read_info(fs, path)
    document: dict[str, Any] = {}
    arrays: Arrays = {}
    opaque = False
    for name in _expected_files(fs, info):
        data = _read_verified(fs, info, name)
        try:
            if name == STATE_NAME:
                document = parse_object(data)
            elif name.endswith(TENSOR_SUFFIX) and not name.startswith(WEIGHTS_NAME):
                arrays |= deserialize(data)
            elif name.startswith(WEIGHTS_NAME):
                opaque = True
            else:
                raise CorruptCheckpoint(f"{path / name} is not a file of a checkpoint.")
        except (JsonProblem, TensorProblem) as error:
            raise CorruptCheckpoint(f"{path / name} is broken: {error}.") from None
    if describe(arrays) != info.manifest.tensors:
        raise CorruptCheckpoint(f"{path}: the arrays found are not those that the manifest lists.")
    try:
        components = decode_components(document, arrays | _load_segments(fs, info))
    except CodecProblem as error:
        raise CorruptCheckpoint(f"{path / STATE_NAME} is broken: {error}.") from None
    missing = set(info.manifest.components) ^ set(components)
    if missing:
        raise CorruptCheckpoint(
            f"{path}: manifest and {STATE_NAME} disagree about {', '.join(sorted(missing))}."
        )
    return LoadedCheckpoint(info, components, path / WEIGHTS_NAME if opaque else None)


def read_segments(fs: FileSystem, info: CheckpointInfo, seen: dict[Path, str]) -> None:
    """Check every byte of the segments that ``info`` names, one at a time."""
    place = segments_directory(info.path)
    for entry in info.manifest.segments.values():
        path = place / segment_name(entry.sha256)
        if seen.get(path) != entry.sha256:
            _read_segment(fs, info, path, entry)
            seen[path] = entry.sha256


def _load_segments(fs: FileSystem, info: CheckpointInfo) -> dict[str, SealedArray]:
    """Sealed arrays by path inside the states; equal ones are one object."""
    place = segments_directory(info.path)
    known: dict[str, SealedArray] = {}
    for entry in info.manifest.segments.values():
        if entry.sha256 not in known:
            path = place / segment_name(entry.sha256)
            known[entry.sha256] = _parse_segment(_read_segment(fs, info, path, entry), path, entry)
    return {name: known[entry.sha256] for name, entry in info.manifest.segments.items()}


def _read_segment(fs: FileSystem, info: CheckpointInfo, path: Path, entry: FileEntry) -> bytearray:
    try:
        size = fs.size(path)
        if size != entry.size:
            raise CorruptCheckpoint(
                f"{path} has {size} bytes; {entry.size} are expected, and {info.path} needs them."
            )
        data = fs.read(path, entry.size)
    except FileNotFoundError:
        raise CorruptCheckpoint(
            f"{path} is missing ({entry.size} bytes expected), and {info.path} needs it. Copy a run directory "
            f"as a whole: its checkpoints share {path.parent.name}/."
        ) from None
    except NotARegularFile:
        raise CorruptCheckpoint(f"{path} is not a plain file, and {info.path} needs it.") from None
    except OSError as error:
        raise UnreadableCheckpoint(
            f"{path} cannot be read: {error.strerror or error}; {info.path} needs it."
        ) from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != entry.sha256:
        raise CorruptCheckpoint(
            f"{path} was changed: its SHA-256 is {digest}; {entry.sha256} is expected, and {info.path} needs it."
        )
    return data


def _parse_segment(data: bytearray, path: Path, entry: FileEntry) -> SealedArray:
    try:
        arrays = deserialize(data)
    except TensorProblem as error:
        raise CorruptCheckpoint(f"{path} is broken: {error}.") from None
    array = arrays.get("data")
    # Only this spelling of a header makes the file's hash the array's digest.
    if array is None or not data.startswith(sealed_header(array.dtype.name, array.shape, array.nbytes)):
        raise CorruptCheckpoint(f"{path} is no segment that optix wrote.")
    return SealedArray(array, digest=entry.sha256)


@contextmanager
def _unless_vanished(fs: FileSystem, path: Path) -> Generator[None, None, None]:
    """A checkpoint that is being removed while it is read looks damaged; say that it is gone instead."""
    try:
        yield
    except CorruptCheckpoint:
        try:
            fs.entries(path)
        except FileNotFoundError:
            raise FileNotFoundError(f"{path} does not exist") from None
        except OSError:
            pass  # what was found first says more
        raise


def _expected_files(fs: FileSystem, info: CheckpointInfo) -> Mapping[str, Any]:
    """The manifest's files, once it is certain that exactly these exist with these sizes."""
    files = info.manifest.files
    try:
        found = set(files_below(fs, info.path)) - {MANIFEST_NAME}
    except CheckpointError as error:
        raise CorruptCheckpoint(error.message) from None
    except OSError as error:
        raise _unreadable(fs, info.path, ".", error) from error
    for name in sorted(set(files) - found):
        raise CorruptCheckpoint(f"{info.path / name} is missing ({files[name].size} bytes expected).")
    for name in sorted(found - set(files)):
        raise CorruptCheckpoint(f"{info.path / name} does not belong there: the manifest does not list it.")
    for name, entry in files.items():
        try:
            size = fs.size(info.path / name)
        except OSError as error:
            raise _unreadable(fs, info.path, name, error) from error
        if size != entry.size:
            raise CorruptCheckpoint(f"{info.path / name} has {size} bytes; {entry.size} are expected.")
    return files


def _read_verified(fs: FileSystem, info: CheckpointInfo, name: str) -> bytearray:
    entry = info.manifest.files[name]
    try:
        data = fs.read(info.path / name, entry.size)
    except OSError as error:
        raise _unreadable(fs, info.path, name, error) from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != entry.sha256:
        raise CorruptCheckpoint(
            f"{info.path / name} was changed: its SHA-256 is {digest}; {entry.sha256} is expected."
        )
    return data


class UnreadableCheckpoint(CorruptCheckpoint):
    """The system refused to give the bytes; they may still be good, so it is never moved to quarantine."""


def _unreadable(fs: FileSystem, path: Path, name: str, error: OSError) -> Exception:
    """What a failed read means: the checkpoint was removed meanwhile, a file is missing, or the disk failed."""
    try:
        fs.entries(path)
    except FileNotFoundError:
        return FileNotFoundError(f"{path} does not exist")
    except NotADirectoryError:
        return CorruptCheckpoint(f"{path} is not a directory.")
    except OSError as other:
        return UnreadableCheckpoint(f"{path} cannot be read: {other.strerror or other}.")
    if isinstance(error, NotARegularFile | FileNotFoundError):
        what = "is missing" if isinstance(error, FileNotFoundError) else "is not a plain file"
        return CorruptCheckpoint(f"{path / name} {what}.")
    return UnreadableCheckpoint(f"{path / name} cannot be read: {error.strerror or error}.")
