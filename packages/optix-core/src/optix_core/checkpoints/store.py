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
  .tmp-*  .trash-*         unfinished saves and removals
  quarantine/              damaged checkpoints
```

The directory is the index, so nothing can disagree with it; it may be moved, copied or read by others at any
time.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from optix_core.checkpoints import reader
from optix_core.checkpoints.codec import encode_components, encode_loosely, require_finite
from optix_core.checkpoints.commit import Sealed, collect_garbage, commit, discard, quarantine
from optix_core.checkpoints.compatibility import architecture_of
from optix_core.checkpoints.filesystem import FileSystem
from optix_core.checkpoints.jsonio import MAX_JSON_BYTES, JsonObject, canonical, ordered
from optix_core.checkpoints.lock import RunLock
from optix_core.checkpoints.manifest import (
    KINDS,
    STATE_NAME,
    FileEntry,
    Manifest,
    platform_block,
    score_parts,
)
from optix_core.checkpoints.preflight import preflight
from optix_core.checkpoints.reader import CheckpointInfo, LoadedCheckpoint
from optix_core.checkpoints.reporting import Report, warn
from optix_core.checkpoints.retention import by_score, evictable
from optix_core.checkpoints.tensors import describe, serialize
from optix_core.errors import (
    CheckpointError,
    CheckpointNotSaved,
    CorruptCheckpoint,
    IncompatibleCheckpoint,
)
from optix_core.state import State

PREFIX = "ckpt-"
AGENT_TENSORS = "agent.safetensors"
TRAINING_TENSORS = "training.safetensors"
_NAME = re.compile(r"ckpt-(\d{12,19})(?:-r(\d{1,6}))?")
_LARGEST_STEP = 10**19 - 1
_LISTINGS = 100

T = TypeVar("T")
# The store has a method called list, so inside the class these types go by other names.
Infos = list[CheckpointInfo]
Names = list[str]
Manifests = list[Manifest]
Order = Callable[[Sequence[CheckpointInfo]], Sequence[CheckpointInfo]]


@dataclass(frozen=True, slots=True)
class Problem:
    """A directory that looks like a checkpoint and is none."""

    path: Path
    error: CheckpointError


Problems = list[Problem]


class CheckpointStore:
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
        self.run_dir = Path(run_dir).absolute()
        self._fs = fs or FileSystem()
        self._keep = keep
        self._sync = durability == "power"
        self._run_id = run_id
        self._report = report
        self._reported: set[str] = set()
        self._protected: set[str] = set()
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
        self._lock = RunLock(self.run_dir, unsafe_no_lock=unsafe_no_lock)

    # -- looking -----------------------------------------------------------------------------------

    def scan(self) -> tuple[Infos, Problems]:
        """All checkpoints, in the order of writing, and what looks like one but has no valid manifest."""
        found: Infos = []
        problems: Problems = []
        for name in self._names():
            path = self.run_dir / name
            try:
                info = reader.read_info(self._fs, path)
                if not name.startswith(f"{PREFIX}{info.step:012d}"):
                    raise CorruptCheckpoint(
                        f"{path} holds a checkpoint of step {info.step}; it was renamed or mixed up."
                    )
                found.append(info)
            except FileNotFoundError:
                continue  # removed by the writer meanwhile
            except CheckpointError as error:
                problems.append(Problem(path, error))
        return sorted(found, key=lambda i: (i.sequence, i.step, i.name)), problems

    def list(self) -> Infos:
        """All checkpoints with a valid manifest, in the order of writing. Their data is not looked at."""
        return self.scan()[0]

    def verify(self, name: str | None = None) -> dict[str, CheckpointError | None]:
        """Check every byte of one or all checkpoints; name to what is wrong with it, or None."""
        results: dict[str, CheckpointError | None] = {}
        for candidate in self._names() if name is None else [name]:
            try:
                reader.verify(self._fs, self.run_dir / candidate)
                results[candidate] = None
            except FileNotFoundError:
                if name is not None:
                    raise self._missing(name) from None
            except CheckpointError as error:
                results[candidate] = error
        return results

    def latest(self) -> CheckpointInfo | None:
        """The newest checkpoint whose every byte is right, or None if there are none at all.

        Raises:
            CorruptCheckpoint: There are some, and all are damaged.
        """
        return self._first_good(_newest_first, "newest", reader.verify)

    def best(self) -> CheckpointInfo | None:
        """The one with the highest finite score whose every byte is right; of equal scores the earlier.

        Raises:
            CorruptCheckpoint: There are some with a score, and all of them are damaged.
        """
        return self._first_good(by_score, "best", reader.verify)

    def load(self, name: str | Path | None = None) -> LoadedCheckpoint:
        """Read a checkpoint, verified.

        Args:
            name: "latest" (also None), "best", a checkpoint's name, or the path of its directory.

        Raises:
            CorruptCheckpoint: The one asked for is damaged; for "latest" and "best": all are.
            IncompatibleCheckpoint: A newer optix-core wrote it.
            CheckpointError: There is no such checkpoint.
        """
        if name is None or name in {"latest", "best"}:
            order = by_score if name == "best" else _newest_first
            found = self.find(order, "best" if name == "best" else "newest")
            if found is None:
                which = "with a finite score " if name == "best" else ""
                raise CheckpointError(
                    f"There is no checkpoint {which}in {self.run_dir}.", code="E-CKPT-MISSING"
                )
            return found
        path = self.run_dir / name if isinstance(name, str) and _NAME.fullmatch(name) else Path(name)
        try:
            return reader.load(self._fs, path)
        except FileNotFoundError:
            raise self._missing(str(name)) from None

    def find(self, order: Order, which: str) -> LoadedCheckpoint | None:
        """The first checkpoint in ``order`` whose every byte is right, read.

        Args:
            order: Chooses and orders candidates, given all in the order of writing.
            which: What to call the result in messages ("best").

        Returns:
            None if ``order`` names none.

        Raises:
            CorruptCheckpoint: It names some and all are damaged, or no checkpoint here is intact.
        """
        return self._first_good(order, which, reader.load)

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
            architecture_keys: Top-level keys of the agent's state whose arrays must fit when it is loaded
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
        files, described = _encode(components)
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
        with self._lock:
            try:
                info = self._commit(files, described, opaque)
            except OSError as error:
                self._untidy = True
                raise self._not_saved(
                    step, sum(sealed.entry.size for sealed in files.values()), error
                ) from error
            self._prune(pins)
        return info

    def preflight(self, expected_bytes: int = 0) -> None:
        """Make sure, before training, that this directory can hold a run.

        Raises:
            CheckpointLocked: Another process writes here, or locking does not work.
            CheckpointError: Something else does not work there, or space for three checkpoints of
                ``expected_bytes`` is lacking.
        """
        try:
            with self._lock:
                preflight(self._fs, self.run_dir, expected_bytes)
        except OSError as error:
            raise CheckpointError(
                f"{self.run_dir} cannot be locked: {error.strerror or error}. Choose a directory that you "
                "can write.",
                code="E-CKPT-UNWRITABLE",
            ) from error

    def gc(self) -> Names:
        """Remove what interrupted saves left; returns the names."""
        with self._lock:
            return collect_garbage(self._fs, self.run_dir)

    def quarantine(self, name: str) -> Path:
        """Move a damaged checkpoint to ``quarantine/``; returns where it lies now."""
        with self._lock:
            return quarantine(self._fs, self.run_dir / name)

    # -- inside ------------------------------------------------------------------------------------

    def _commit(
        self, files: dict[str, Sealed], described: JsonObject, opaque: Callable[[Path], None] | None
    ) -> CheckpointInfo:
        if self._untidy:
            collect_garbage(self._fs, self.run_dir)
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
                described["content"] = _content_of(described["components"], entries)
            draft = Manifest(**described, files=entries)
            data = draft.to_bytes()
            written.append(Manifest.from_bytes(data, name))
            return name, data

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

    def _names(self) -> Names:
        return [
            e.name
            for e in self._fs.entries(self.run_dir)
            if e.kind == "directory" and _NAME.fullmatch(e.name)
        ]

    def _first_good(
        self,
        order: Order,
        which: str,
        use: Callable[[FileSystem, Path], T],
    ) -> T | None:
        """The first in ``order`` for which ``use`` finds every byte right; damaged ones are put aside."""
        for _ in range(_LISTINGS):
            infos, problems = self.scan()
            rejected = {problem.path: problem.error for problem in problems}
            candidates = order(infos)
            try:
                for info in candidates:
                    try:
                        result = use(self._fs, info.path)
                    except CheckpointError as error:
                        rejected[info.path] = error
                    else:
                        self._put_aside(rejected, f"using {info.name} as the {which} instead")
                        return result
            except FileNotFoundError:
                continue  # the writer removed it between listing and reading; list again
            if not rejected or (infos and not candidates):
                self._put_aside(rejected, f"which may have been the {which}")
                return None
            reasons = "\n".join(f"  {error.message}" for error in rejected.values())
            self._put_aside(rejected, f"there is no other to use as the {which}")
            newer = all(isinstance(error, IncompatibleCheckpoint) for error in rejected.values())
            raise (IncompatibleCheckpoint if newer else CorruptCheckpoint)(
                f"No usable checkpoint in {self.run_dir}:\n{reasons}\nRestore the directory from a copy, or "
                "start a new run."
            )
        raise CheckpointError(f"{self.run_dir} changes faster than it can be read; try again.")

    def _put_aside(self, rejected: Mapping[Path, CheckpointError], remedy: str) -> None:
        for path, error in rejected.items():
            if path.name in self._reported:
                continue
            self._reported.add(path.name)
            where = ""
            if self._lock.held and type(error) is CorruptCheckpoint:
                try:
                    where = f" It was moved to {quarantine(self._fs, path)}."
                except OSError as problem:
                    where = f" It could not be moved to quarantine: {problem.strerror or problem}."
            self._report(f"Skipped a damaged checkpoint, {remedy}. {error.message}{where}")

    def _missing(self, name: str) -> CheckpointError:
        known = ", ".join(self._names()[-10:]) or "none"
        return CheckpointError(
            f"There is no checkpoint {name} in {self.run_dir}; there are: {known}.", code="E-CKPT-MISSING"
        )

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


def _newest_first(infos: Sequence[CheckpointInfo]) -> Sequence[CheckpointInfo]:
    return infos[::-1]


def _encode(components: Mapping[str, State]) -> tuple[dict[str, Sealed], JsonObject]:
    """Files of a checkpoint, and what the manifest says about states and arrays."""
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
    for name, document in encoded.document.items():
        arrays_file = files.get(AGENT_TENSORS if name == "agent" else TRAINING_TENSORS)
        parts = [document, None if arrays_file is None else arrays_file.entry.sha256]
        entries[name] = {"required": True, "digest": hashlib.sha256(canonical(parts)).hexdigest()}
    return files, {
        "components": entries,
        "tensors": describe(encoded.arrays),
        "content": _content_of(entries, {}),
    }


def _content_of(components: Mapping[str, JsonObject], opaque: Mapping[str, FileEntry]) -> str:
    weights = {name: e.sha256 for name, e in opaque.items() if name.startswith("weights")}
    return hashlib.sha256(canonical([{n: e["digest"] for n, e in components.items()}, weights])).hexdigest()
