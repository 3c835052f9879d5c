"""The directory of one run.

```
runs/2025-11-22-CartPole-v1-PPO-seed0/
  run.json       written once: id, seed, configuration without secrets, versions
  events.jsonl   every decision (decision_log.py)
  ckpt-*/ ...    checkpoints (checkpoints/store.py)
```
"""

from __future__ import annotations

import difflib
import hashlib
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, cast

from optix_core.checkpoints.codec import CodecProblem, decode_value, encode_loosely
from optix_core.checkpoints.commit import TEMPORARY
from optix_core.checkpoints.filesystem import FileSystem, write_file
from optix_core.checkpoints.jsonio import MAX_JSON_BYTES, JsonObject, JsonProblem, canonical, parse_object
from optix_core.checkpoints.listing import PREFIX
from optix_core.checkpoints.manifest import platform_block
from optix_core.checkpoints.registry import CheckpointRegistry
from optix_core.errors import CheckpointError, IncompatibleCheckpoint
from optix_core.runs.decision_log import DecisionLog
from optix_core.runs.redaction import redact

FORMAT = "optix.run"
VERSION = 1
RUN_NAME = "run.json"
LOG_NAME = "events.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """What a run was started with.

    Attributes:
        run_id: Random and unique; written into its checkpoints.
        name: The directory's name when it was made.
        seed: Root seed, or None.
        config: Configuration without secrets.
        config_digest: SHA-256 of that.
        versions: Python, numpy, frameworks and installed optix distributions.
        created: Wall clock, information only.
    """

    run_id: str
    name: str
    seed: int | None
    config: dict[str, Any]
    config_digest: str
    versions: dict[str, Any]
    created: float


class RunDirectory:
    """A run on disk; made by :meth:`create` or :meth:`open`.

    Attributes:
        path: Where it lies, absolute.
        info: What it was started with.
    """

    def __init__(self, path: Path, info: RunInfo, fs: FileSystem | None = None) -> None:
        self.path = path
        self.info = info
        self._fs = fs or FileSystem()

    @classmethod
    def create(
        cls,
        root: str | Path,
        name: str | None = None,
        *,
        config: Mapping[str, Any] | None = None,
        seed: int | None = None,
        env: str | None = None,
        algorithm: str | None = None,
        fs: FileSystem | None = None,
    ) -> RunDirectory:
        """Make a new run below ``root``.

        Args:
            root: The directory of all runs; created if missing.
            name: Its name; without one, ``<date>-<env>-<algorithm>-seed<N>``, with ``-2``, ``-3``, ... if
                that is taken.
            config: What it is started with; secrets are removed before it is written.
            seed: Root seed.
            env: Environment id, for the name; without it, ``config["env"]``.
            algorithm: For the name; without it, ``config["algorithm"]``.
            fs: System calls, replaced in tests.

        Raises:
            CheckpointError: ``name`` is taken or not usable, or the directory cannot be written.
        """
        system = fs or FileSystem()
        parent = Path(root).absolute()
        settings = dict(config or {})
        try:
            parent.mkdir(parents=True, exist_ok=True)
            if name is not None:
                if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._+=-]{0,127}", name):
                    raise CheckpointError(
                        f"{name!r} cannot be the name of a run: use letters, digits and . _ + = - (at most "
                        "128).",
                        code="E-RUN-NAME",
                    )
                path = parent / name
                _claim(system, path)
            else:
                chosen = (env or settings.get("env"), algorithm or settings.get("algorithm"))
                path = _fresh_directory(system, parent, _name_from(*chosen, seed))
            return cls(path, _write_info(system, path, settings, seed), system)
        except FileExistsError as error:
            if not parent.is_dir():
                raise CheckpointError(
                    f"Cannot make a run in {parent}: it is not a directory. Choose a directory that can be written.",
                    code="E-RUN-UNWRITABLE",
                ) from error
            raise CheckpointError(
                f"{parent / str(name)} exists already. Resume it, or choose another name.",
                code="E-RUN-EXISTS",
            ) from error
        except OSError as error:
            raise CheckpointError(
                f"Cannot make a run in {parent}: {error.strerror or error}. Choose a directory that can be "
                "written.",
                code="E-RUN-UNWRITABLE",
            ) from error

    @classmethod
    def open(cls, path: str | Path, *, fs: FileSystem | None = None) -> RunDirectory:
        """An existing run, for reading or resuming.

        Raises:
            CheckpointError: It is missing, a file, empty, unreadable, or not a run; the message says which.
            IncompatibleCheckpoint: A newer optix-core made it.
        """
        system = fs or FileSystem()
        place = Path(path).absolute()
        try:
            names = [entry.name for entry in system.entries(place)]
        except OSError as error:
            raise _cannot_open(place, error) from error
        if RUN_NAME not in names:
            raise _not_a_run(place, names)
        try:
            info = _parse_info(system.read(place / RUN_NAME, MAX_JSON_BYTES), place / RUN_NAME)
        except OSError as error:
            raise CheckpointError(
                f"{place / RUN_NAME} cannot be read: {error.strerror or error}.", code="E-RUN-UNREADABLE"
            ) from error
        return cls(place, info, system)

    @classmethod
    def latest(cls, root: str | Path, *, fs: FileSystem | None = None) -> RunDirectory:
        """The run below ``root`` that was made last.

        Raises:
            CheckpointError: There is none.
        """
        system = fs or FileSystem()
        place = Path(root).absolute()
        try:
            names = [entry.name for entry in system.entries(place) if entry.kind == "directory"]
        except OSError as error:
            raise _cannot_open(place, error) from error
        runs = [cls.open(place / name, fs=system) for name in names if (place / name / RUN_NAME).is_file()]
        if not runs:
            raise CheckpointError(
                f"There are no runs in {place}. Start one with: optix train ENV.", code="E-RUN-MISSING"
            )
        return max(runs, key=lambda run: (run.info.created, run.path.name))

    def registry(self, max_snapshots: int | None = 10, **options: Any) -> CheckpointRegistry:
        """The run's checkpoints; ``options`` are those of :class:`CheckpointRegistry`."""
        return CheckpointRegistry(self.path, max_snapshots, fs=self._fs, run_id=self.info.run_id, **options)

    def log(self, **options: Any) -> DecisionLog:
        """The run's decision log; ``options`` are those of :class:`DecisionLog`."""
        return DecisionLog(self.path / LOG_NAME, self._fs, **options)


def config_digest(config: Mapping[str, Any]) -> str:
    """SHA-256 of a configuration without its secrets; equal digests mean equal configurations."""
    return hashlib.sha256(canonical(encode_loosely(redact(dict(config))))).hexdigest()


def _name_from(env: Any, algorithm: Any, seed: int | None) -> str:
    parts = [
        time.strftime("%Y-%m-%d"),
        str(env or ""),
        str(algorithm or ""),
        "" if seed is None else f"seed{seed}",
    ]
    words = [re.sub(r"[^A-Za-z0-9._+=]+", "-", part).strip("-.")[:60] for part in parts]
    return "-".join(word for word in words if word)


def _claim(fs: FileSystem, path: Path) -> None:
    """Make ``path``, or take it over if it holds nothing yet: somebody made it, or died before writing its run.json.

    Raises:
        FileExistsError: Something is in it, or it is a file.
    """
    try:
        fs.mkdir(path)
    except FileExistsError:
        if not path.is_dir() or any(not entry.name.startswith(TEMPORARY) for entry in fs.entries(path)):
            raise


def _fresh_directory(fs: FileSystem, parent: Path, base: str) -> Path:
    """Create ``base``, ``base-2``, ...: making it is what claims a name, also against other processes."""
    for number in range(1, 100_000):
        path = parent / (base if number == 1 else f"{base}-{number}")
        try:
            fs.mkdir(path)
        except FileExistsError:
            continue
        return path
    raise CheckpointError(
        f"{parent} holds 100000 runs called {base}; give this one a name.", code="E-RUN-NAME"
    )


def _write_info(fs: FileSystem, path: Path, config: Mapping[str, Any], seed: int | None) -> RunInfo:
    info = RunInfo(
        run_id=secrets.token_hex(16),
        name=path.name,
        seed=seed,
        config=cast("dict[str, Any]", redact(dict(config))),
        config_digest=config_digest(config),
        versions={**platform_block(), **_optix_versions()},
        created=time.time(),
    )
    content: JsonObject = {"format": FORMAT, "format_version": VERSION}
    content |= {key: encode_loosely(getattr(info, key)) for key in RunInfo.__dataclass_fields__}
    temporary = path / f"{TEMPORARY}{secrets.token_hex(8)}"
    write_file(fs, temporary, canonical(content))
    fs.rename(temporary, path / RUN_NAME)
    fs.sync_directory(path)
    fs.sync_directory(path.parent)
    return info


def _optix_versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in ("core", "torch", "tf", "jax", "neuroevo", "distributed"):
        try:
            found[f"optix-{name}"] = metadata.version(f"optix-{name}")
        except metadata.PackageNotFoundError:
            continue
    return found


def _parse_info(data: bytearray, where: Path) -> RunInfo:
    try:
        document = parse_object(data)
        if document.get("format") != FORMAT:
            raise ValueError(f"its format is {document.get('format')!r}")
        version = document.get("format_version")
        if isinstance(version, int) and version > VERSION:
            raise IncompatibleCheckpoint(
                f"{where} has format {version}; this optix-core reads up to {VERSION}. Install a newer one: "
                "pip install --upgrade optix-core."
            )
        values = {key: decode_value(document[key]) for key in RunInfo.__dataclass_fields__}
        if not isinstance(values["run_id"], str) or not isinstance(values["config"], dict):
            raise TypeError("run_id or config has the wrong type")
        return RunInfo(**values)
    except (JsonProblem, CodecProblem, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{where} is broken: {error}.", code="E-RUN-BROKEN") from None


def _cannot_open(place: Path, error: OSError) -> CheckpointError:
    if isinstance(error, NotADirectoryError):
        return CheckpointError(
            f"{place} is a file; a run is a directory with {RUN_NAME} in it. Did you mean {place.parent}?",
            code="E-RUN-NOT-A-DIRECTORY",
        )
    if isinstance(error, FileNotFoundError):
        near: list[str] = []
        if place.parent.is_dir():
            near = difflib.get_close_matches(place.name, [p.name for p in place.parent.iterdir()], n=3)
        hint = f" Did you mean {' or '.join(str(place.parent / name) for name in near)}?" if near else ""
        return CheckpointError(f"There is no directory {place}.{hint}", code="E-RUN-MISSING")
    return CheckpointError(
        f"{place} cannot be read: {error.strerror or error}. Check its owner and permissions.",
        code="E-RUN-UNREADABLE",
    )


def _not_a_run(place: Path, names: list[str]) -> CheckpointError:
    if not names:
        return CheckpointError(f"{place} is empty: no run was started there.", code="E-RUN-EMPTY")
    if "manifest.json" in names and any(name.startswith("snapshot_") for name in names):
        return CheckpointError(
            f"{place} holds snapshots of tensor-optix, which optix cannot continue. Load their weights with "
            "tensor-optix, and start a new run.",
            code="E-RUN-FOREIGN",
        )
    if {"manifest.json", "state.json"} & set(names):
        return CheckpointError(
            f"{place} is one checkpoint. The run is the directory around it: {place.parent}.",
            code="E-RUN-FOREIGN",
        )
    if any(name.startswith(PREFIX) for name in names):
        return CheckpointError(
            f"{place} holds checkpoints but no {RUN_NAME}, so how the run was started is unknown. Use "
            f"CheckpointRegistry({str(place)!r}) to load a policy from it.",
            code="E-RUN-FOREIGN",
        )
    inside = [name for name in names if (place / name / RUN_NAME).is_file()]
    hint = f" There are runs inside it: {', '.join(inside[:3])}." if inside else ""
    return CheckpointError(f"{place} is not a run: it has no {RUN_NAME}.{hint}", code="E-RUN-FOREIGN")
