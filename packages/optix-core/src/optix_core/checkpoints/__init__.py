"""Checkpoints that survive killed processes, power failures, full disks and flipped bits, and never run code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports

if TYPE_CHECKING:
    from optix_core.checkpoints.compatibility import check_compatible as check_compatible
    from optix_core.checkpoints.compatibility import describe_agent as describe_agent
    from optix_core.checkpoints.filesystem import FileSystem as FileSystem
    from optix_core.checkpoints.lock import RunLock as RunLock
    from optix_core.checkpoints.manifest import Manifest as Manifest
    from optix_core.checkpoints.reader import CheckpointInfo as CheckpointInfo
    from optix_core.checkpoints.reader import LoadedCheckpoint as LoadedCheckpoint
    from optix_core.checkpoints.registry import CheckpointRegistry as CheckpointRegistry
    from optix_core.checkpoints.reporting import CheckpointWarning as CheckpointWarning
    from optix_core.checkpoints.store import CheckpointStore as CheckpointStore

_EXPORTS = {
    "CheckpointInfo": ".reader",
    "CheckpointRegistry": ".registry",
    "CheckpointStore": ".store",
    "CheckpointWarning": ".reporting",
    "FileSystem": ".filesystem",
    "LoadedCheckpoint": ".reader",
    "Manifest": ".manifest",
    "RunLock": ".lock",
    "check_compatible": ".compatibility",
    "describe_agent": ".compatibility",
}

__getattr__, __dir__, __all__ = lazy_exports(__name__, _EXPORTS)
