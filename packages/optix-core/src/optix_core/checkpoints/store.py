"""A directory of checkpoints: save, list, verify, load, prune.

```
run_dir/
  .lock                    held by the one writer
  ckpt-000000012000/       exists = complete; the name holds the environment step
    manifest.json          what it is, with size and hash of every file (see manifest.py)
    state.json             everything that is not an array
    agent.safetensors      arrays of the agent
    training.safetensors   arrays of everything else
    weights...             instead of the agent's state, for agents that offer save_weights only
  segments/                sealed arrays, each once for all checkpoints (see segments.py)
  .tmp-*  .trash-*         unfinished saves and removals
  quarantine/              damaged checkpoints
```

The directory is the index, so nothing can disagree with it; it may be moved, copied or read by others at any
time.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from optix_core.checkpoints.codec import encode_loosely, require_finite
from optix_core.checkpoints.commit import Sealed, collect_garbage, commit, discard, quarantine
from optix_core.checkpoints.compatibility import architecture_of
from optix_core.checkpoints.contents import content_digest, seal_components
from optix_core.checkpoints.filesystem import FileSystem
from optix_core.checkpoints.jsonio import JsonObject
from optix_core.checkpoints.listing import PREFIX, CheckpointListing
from optix_core.checkpoints.lock import RunLock
from optix_core.checkpoints.manifest import (
    KINDS,
    FileEntry,
    Manifest,
    platform_block,
    score_parts,
)
from optix_core.checkpoints.preflight import preflight
from optix_core.checkpoints.reader import CheckpointInfo, LoadedCheckpoint
from optix_core.checkpoints.reporting import Report, warn
from optix_core.checkpoints.retention import evictable
from optix_core.checkpoints.segments import SEGMENTS, Segments, digests_beyond
from optix_core.errors import CheckpointError, CheckpointNotSaved
from optix_core.state import SealedArray, State

_LARGEST_STEP = 10**19 - 1
# The store has a method called list, so inside the class these types go by other names.
Names = list[str]
Manifests = list[Manifest]


class CheckpointStore(CheckpointListing):
    """The checkpoints in one directory.

    Reading needs no lock and works while another process writes. Writing takes the lock for the time of the
    call, unless :meth:`lock` holds it for longer, as a run does.

    Args:
        run_dir: The directory; it is created if missing.
        fs: System calls, replaced in tests.
        keep: How many checkpoints remain (see :func:`~optix_core.checkpoints.retention.evictable`), or None
            for all.
        durability: "power": a returned save survives a power failure. "process": it survives a killed
            process; no fsync is made.
        run_id: Written into every manifest.
        report: Receives one sentence per damaged checkpoint and the like; the default is a Python warning.
        unsafe_no_lock: See :class:`~optix_core.checkpoints.lock.RunLock`.
    """

    def __init__(
        self,
        run_dir: str | Path,
        *,
        fs: FileSystem | None = None,
        keep: int | None = 10,
        durability: str = "power",
        run_id: str | None = None,
        report: Report = warn,
        unsafe_no_lock: bool = False,
    ) -> None:
        if keep is not None and keep < 1:
            raise ValueError(f"keep is {keep}; at least one checkpoint has to remain (None keeps all)")
        if durability not in {"power", "process"}:
            raise ValueError(f'durability is {durability!r}; it is "power" or "process"')
        place = Path(run_dir).absolute()
        super().__init__(place, fs or FileSystem(), RunLock(place, unsafe_no_lock=unsafe_no_lock), report)
        self._keep = keep
        self._sync = durability == "power"
        self._run_id = run_id
        self._protected: set[str] = set()
        self._segments = Segments(self._fs, self.run_dir)
        self._session = secrets.token_hex(8)
        self._untidy = True
        try:
            self.run_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(
                f"Cannot use {self.run_dir} for checkpoints: {error.strerror or error}. Choose another "
                "directory.",
                code="E-CKPT-UNWRITABLE",
            ) from error

    # -- writing -----------------------------------------------------------------------------------

    def lock(self) -> RunLock:
        """The writer's lock, to be used in a ``with`` statement around a whole run.

        Raises:
            CheckpointLocked: On entering, if another process writes here.
        """
        return self._lock

    def protect(self, *names: str) -> None:
        """Never remove these, as long as this object lives: the checkpoint that a run was resumed from."""
        self._protected.update(names)

    def save(
        self,
        components: Mapping[str, State],
        *,
        step: int,
        window: int = 0,
        kind: str = "exact",
        score: float | None = None,
        metrics: Mapping[str, Any] | None = None,
        agent_info: Mapping[str, Any] | None = None,
        parent: CheckpointInfo | None = None,
        pins: Collection[str] = (),
        opaque: Callable[[Path], None] | None = None,
        reason: str = "",
        keep_always: bool = False,
        finite: Collection[str] = ("agent",),
        architecture_keys: Sequence[str] | None = None,
    ) -> CheckpointInfo:
        """Write a checkpoint; when this returns, it is durable.

        A step may be saved again. Equal contents, with no better claim to be kept, are not written twice.
        Other contents get a name with ``-r1``, ``-r2``, ...; if they come from a later process and the
        agent's state differs, that is reported, for the run is then not deterministic.

        Args:
            components: State by name; "agent" is the agent's.
            step: Environment steps learned from, at least 0.
            window: Windows learned from.
            kind: "exact", "boundary" or "weights": what a run that continues from it can promise.
            score: What decided to keep it; None, NaN and infinity never make it the best.
            metrics: Numbers to store with it, for listings.
            agent_info: Who the agent is (see :func:`~optix_core.checkpoints.compatibility.describe_agent`).
            parent: The checkpoint that this run was resumed from.
            pins: Names that this save's retention must not remove.
            opaque: Writes the agent's weights to the path that it is given, for agents without
                ``state_dict``.
            reason: Why it is taken.
            keep_always: Never remove it.
            finite: Components whose arrays must be finite.
            architecture_keys: Keys or paths of the agent's state whose arrays must fit when it is loaded
                (see compatibility.py).

        Raises:
            CheckpointNotSaved: The disk refused. Nothing changed, earlier checkpoints are intact, the call
                may be repeated.
            NonFiniteState: An array of a ``finite`` component holds NaN or infinity.
            CheckpointError: A state holds something that cannot be stored.
            CheckpointLocked: Another process writes here.
        """
        if kind not in KINDS:
            raise ValueError(f"kind is {kind!r}; it is one of {', '.join(KINDS)}")
        if not 0 <= step <= _LARGEST_STEP:
            raise ValueError(f"step is {step}; it has to be in [0, {_LARGEST_STEP}]")
        for name in finite:
            if name in components:
                require_finite(name, components[name])
        files, sealed, described = seal_components(components)
        number, score_state = score_parts(score)
        described |= {
            "kind": kind,
            "step": int(step),
            "window": int(window),
            "reason": reason,
            "score": number,
            "score_state": score_state,
            "keep": "always" if keep_always else "auto",
            "metrics": encode_loosely(dict(metrics or {})),
            "agent": encode_loosely(dict(agent_info or {})),
            "architecture": architecture_of(components["agent"], architecture_keys)
            if "agent" in components
            else {},
            "parent": None if parent is None else {"name": parent.name, "digest": parent.manifest.digest},
            "run_id": self._run_id,
            "session": self._session,
            "platform": platform_block(),
            "durability": "power" if self._sync else "process",
            "created": time.time(),
        }
        self._untidy |= not self._lock.held  # somebody may have died here since
        with self._lock:
            try:
                info = self._commit(files, sealed.values(), described, opaque)
            except OSError as error:
                self._untidy = True
                needed = sum(file.entry.size for file in files.values())
                needed += self._segments.missing_bytes(sealed.values())
                raise self._not_saved(step, needed, error) from error
            self._prune(pins)
        return info

    def preflight(self, expected_bytes: int = 0, shared_bytes: int = 0) -> None:
        """Make sure, before training, that this directory can hold a run.

        Args:
            expected_bytes: Size of one checkpoint without its segments, as far as it is known.
            shared_bytes: Size of the segments, which checkpoints share.

        Raises:
            CheckpointLocked: Another process writes here, or locking does not work.
            CheckpointError: Something else does not work there, or space for three checkpoints of
                ``expected_bytes`` and one set of segments is lacking.
        """
        try:
            with self._lock:
                preflight(self._fs, self.run_dir, expected_bytes, shared_bytes)
        except OSError as error:
            raise CheckpointError(
                f"{self.run_dir} cannot be locked: {error.strerror or error}. Choose a directory that you "
                "can write.",
                code="E-CKPT-UNWRITABLE",
            ) from error

    def gc(self) -> Names:
        """Remove what interrupted saves left, and segments that no checkpoint names; returns the names."""
        with self._lock:
            return self._collect(())

    def quarantine(self, name: str) -> Path:
        """Move a damaged checkpoint to ``quarantine/``; returns where it lies now."""
        with self._lock:
            return quarantine(self._fs, self.run_dir / name)

    # -- inside ------------------------------------------------------------------------------------

    def _commit(
        self,
        files: dict[str, Sealed],
        sealed: Collection[SealedArray],
        described: JsonObject,
        opaque: Callable[[Path], None] | None,
    ) -> CheckpointInfo:
        if self._untidy:
            self._collect(array.digest for array in sealed)
            self._untidy = False
        present = self.list()
        described["sequence"] = 1 + max((info.sequence for info in present), default=0)
        siblings = [info for info in present if info.step == described["step"]]
        if opaque is None:
            for info in siblings:
                if self._same(info, described):
                    if self._sync:  # an earlier process may have died between its rename and its fsync
                        self._fs.sync_directory(self.run_dir)
                    return info
        taken = {name for name in self._names() if name.startswith(f"{PREFIX}{described['step']:012d}")}
        name = base = f"{PREFIX}{described['step']:012d}"
        revision = 0
        while name in taken:
            revision += 1
            name = f"{base}-r{revision}"

        written: Manifests = []

        def manifest(entries: dict[str, FileEntry]) -> tuple[str, bytes]:
            if opaque is not None:
                described["content"] = content_digest(described["components"], entries)
            draft = Manifest(**described, files=entries)
            data = draft.to_bytes()
            written.append(Manifest.from_bytes(data, name))
            return name, data

        self._segments.write(sealed, sync=self._sync)
        commit(self._fs, self.run_dir, files, manifest, opaque, sync=self._sync)
        info = CheckpointInfo(self.run_dir / name, written[0])
        self._compare_with_earlier(info, siblings)
        return info

    @staticmethod
    def _same(info: CheckpointInfo, described: JsonObject) -> bool:
        """Whether ``info`` already serves the purpose of the checkpoint that is about to be written."""
        manifest = info.manifest
        same = manifest.content == described["content"] and manifest.kind == described["kind"]
        same = same and (described["keep"] == "auto" or manifest.keep == "always")
        return same and (described["score"] is None or described["score"] == manifest.score)

    def _compare_with_earlier(self, info: CheckpointInfo, siblings: Sequence[CheckpointInfo]) -> None:
        """A resumed run that passes a step again has to find the same agent there."""
        mine = info.manifest
        for other in siblings:
            theirs = other.manifest
            if theirs.session == mine.session or theirs.reason != mine.reason or theirs.run_id != mine.run_id:
                continue
            before, now = theirs.components.get("agent"), mine.components.get("agent")
            if mine.run_id is not None and before is not None and now is not None and before != now:
                self._report(
                    f"Step {mine.step} was reached twice and the agent's state differs ({other.name} and "
                    f"{info.name}, both kept): this run is not deterministic. Compare versions, thread "
                    "counts and environments of the two sessions."
                )

    def _prune(self, pins: Collection[str]) -> None:
        """Remove what retention lets go. The save before it is durable, so a failure here can wait."""
        shared = False
        for info in evictable(self.list(), self._keep, {*pins, *self._protected}):
            try:
                discard(self._fs, info.path, sync=self._sync)
            except OSError as error:
                self._untidy = True
                self._report(
                    f"Could not remove the old checkpoint {info.path}: {error.strerror or error}. Trying "
                    "again later."
                )
                return
            shared |= bool(info.manifest.segments)
        if shared:
            try:
                self._collect_segments(())
            except OSError as error:
                self._untidy = True
                self._report(
                    f"Could not remove old segments in {self.run_dir}: {error.strerror or error}. Trying again later."
                )

    def _collect(self, needed: Iterable[str]) -> Names:
        """Remove what interrupted saves and removals left; segments in ``needed`` are about to be named."""
        return collect_garbage(self._fs, self.run_dir) + self._collect_segments(needed)

    def _collect_segments(self, needed: Iterable[str]) -> Names:
        infos = self.list()
        named = {entry.sha256 for info in infos for entry in info.manifest.segments.values()} | set(needed)
        try:
            named |= digests_beyond(self._fs, self.run_dir, {info.name for info in infos})
        except OSError as error:  # not a reason to lose anything, nor to stop saving
            if SEGMENTS not in self._reported:
                self._reported.add(SEGMENTS)
                self._report(
                    f"Segments that no checkpoint needs are kept: what else lies in {self.run_dir} cannot be "
                    f"read ({error.strerror or error})."
                )
            return self._segments.collect(None)
        return self._segments.collect(named)

    def _loaded(self, loaded: LoadedCheckpoint) -> None:
        if loaded.info.path.parent == self.run_dir:
            self._segments.note_verified(loaded.info.manifest.segments.values())

    def _not_saved(self, step: int, needed: int, error: OSError) -> CheckpointNotSaved:
        try:
            free = f"{self._fs.free_bytes(self.run_dir):,} bytes are free there"
        except OSError:
            free = "how much is free there is unknown"
        return CheckpointNotSaved(
            f"The checkpoint of step {step} was not saved in {self.run_dir}: {error.strerror or error}. It "
            f"needs {needed:,} bytes; {free}. Earlier checkpoints are intact. Free some space or check the "
            "disk; saving is tried again."
        )
