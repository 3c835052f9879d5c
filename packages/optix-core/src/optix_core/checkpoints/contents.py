"""States as the files of a checkpoint, and the digests by which equal contents are recognised."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from optix_core.checkpoints.codec import encode_components
from optix_core.checkpoints.commit import Sealed
from optix_core.checkpoints.jsonio import MAX_JSON_BYTES, JsonObject, canonical, ordered
from optix_core.checkpoints.manifest import STATE_NAME, FileEntry
from optix_core.checkpoints.tensors import describe, serialize
from optix_core.errors import CheckpointError
from optix_core.state import SealedArray, State

AGENT_TENSORS = "agent.safetensors"
TRAINING_TENSORS = "training.safetensors"


def seal_components(
    components: Mapping[str, State],
) -> tuple[dict[str, Sealed], dict[str, SealedArray], JsonObject]:
    """Files of a checkpoint, sealed arrays by path, and what the manifest says about states and arrays."""
    encoded = encode_components(components)
    files: dict[str, Sealed] = {}
    # Two files, because every fsync costs milliseconds, and the agent's alone identify its state.
    for file, agents_own in ((AGENT_TENSORS, True), (TRAINING_TENSORS, False)):
        arrays = {n: a for n, a in encoded.arrays.items() if n.startswith("agent/") is agents_own}
        if arrays:
            files[file] = Sealed.of(serialize(arrays))
    state = ordered(encoded.document)
    if len(state) > MAX_JSON_BYTES:
        largest = max(encoded.document, key=lambda n: len(ordered(encoded.document[n])))
        raise CheckpointError(
            f"What is not arrays takes {len(state):,} bytes, more than the {MAX_JSON_BYTES:,} allowed; most "
            f"of it is in {largest!r}. Keep long lists of numbers as numpy arrays. Nothing was written.",
            code="E-CKPT-UNSAVABLE",
        )
    files[STATE_NAME] = Sealed.of(state)
    entries: dict[str, JsonObject] = {}
    segments = {path: FileEntry(array.file_size, array.digest) for path, array in encoded.sealed.items()}
    for name, document in encoded.document.items():
        arrays_file = files.get(AGENT_TENSORS if name == "agent" else TRAINING_TENSORS)
        parts: list[Any] = [document, None if arrays_file is None else arrays_file.entry.sha256]
        shared = {path: entry.sha256 for path, entry in segments.items() if path.startswith(f"{name}/")}
        if shared:  # only then, so that digests of states without any are those of format 1.0
            parts.append(shared)
        entries[name] = {"required": True, "digest": hashlib.sha256(canonical(parts)).hexdigest()}
    return (
        files,
        encoded.sealed,
        {
            "segments": segments,
            "components": entries,
            "tensors": describe(encoded.arrays),
            "content": content_digest(entries, {}),
        },
    )


def content_digest(components: Mapping[str, JsonObject], opaque: Mapping[str, FileEntry]) -> str:
    """One digest of all states and of what an agent wrote by itself."""
    weights = {name: e.sha256 for name, e in opaque.items() if name.startswith("weights")}
    return hashlib.sha256(canonical([{n: e["digest"] for n, e in components.items()}, weights])).hexdigest()
