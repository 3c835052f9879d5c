"""What is known about each installed plugin, whether it could be loaded or not?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from optix_core.plugins.specs import SPEC_TYPES, AgentSpec, ComponentSpec

API_VERSION = "1.0"
"""The plugin API of this optix-core. Major: something was removed. Minor: something was added."""
ENTRY_POINT_GROUP = "optix_core.plugins"
"""The entry-point group that plugins register in."""
CORE = "optix-core"
FIRST_PARTY = frozenset({
    CORE, "optix-torch", "optix-tf", "optix-jax", "optix-neuroevo", "optix-distributed",
})  # fmt: skip
"""Our own distributions. Others win a choice only when named, or when none of these fits."""

State = Literal["found", "ok", "ok!", "disabled", "incompatible", "failed"]
Phase = Literal["discover", "requires", "import", "api", "validate", "register"]
Origin = Literal["core", "entry-point", "argument", "local"]

_S_co = TypeVar("_S_co", bound=ComponentSpec, covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One plugin, and how far loading it came.

    Attributes:
        name: The canonical name of its distribution, or the name it was registered under.
        dist: The distribution's name as it spells itself; None for what is not installed.
        version: The distribution's version, if known.
        editable: Installed from a source folder.
        location: Folder it is installed in, or source folder of an editable one.
        target: ``"module"`` or ``"module:object"`` of the plugin object.
        origin: ``"core"``, ``"entry-point"`` (installed), ``"argument"`` (``-p module``) or ``"local"``
            (``register_plugin``).
        api: The plugin API it says it was written for.
        state: ``"found"`` (not imported), ``"ok"``, ``"ok!"`` (with warnings), ``"disabled"``, ``"incompatible"``
            or ``"failed"``.
        phase: The phase reached, or in which it failed; None before any.
        error: One sentence if it is not usable, else None.
        traceback: The whole traceback of ``error``, if there was an exception.
        import_cpu_ms: CPU time of the import in milliseconds, None if not imported.
        heavy: Heavy modules that the import pulled in and that were not loaded before.
        specs: Components it offers; empty unless ``"ok"`` or ``"ok!"``.
        warnings: Sentences about what works but should not stay so.
        exception: The exception behind ``error``, not part of the JSON form.
    """

    name: str
    dist: str | None = None
    version: str | None = None
    editable: bool = False
    location: str | None = None
    target: str = ""
    origin: Origin = "entry-point"
    api: str | None = None
    state: State = "found"
    phase: Phase | None = None
    error: str | None = None
    traceback: str | None = None
    import_cpu_ms: float | None = None
    heavy: tuple[str, ...] = ()
    specs: tuple[ComponentSpec, ...] = ()
    warnings: tuple[str, ...] = ()
    exception: BaseException | None = field(default=None, repr=False, compare=False)

    @property
    def loaded(self) -> bool:
        """Whether its components can be used."""
        return self.state in {"ok", "ok!"}

    @property
    def broken(self) -> bool:
        """Whether it should have been loaded and could not be."""
        return self.state in {"failed", "incompatible"}

    @property
    def first_party(self) -> bool:
        """Whether it is one of our own distributions; what is registered by hand never is."""
        return self.origin in {"core", "entry-point"} and self.name in FIRST_PARTY

    @property
    def label(self) -> str:
        """Name and version, for sentences."""
        return f"{self.name} {self.version}" if self.version else self.name

    @property
    def provides(self) -> dict[str, list[str]]:
        """Names of its components by kind; kinds without any are left out."""
        names: dict[str, list[str]] = {}
        for kind in SPEC_TYPES:
            found = [spec.name for spec in self.specs if spec.kind == kind]
            if found:
                names[kind] = found
        return names

    @property
    def provides_text(self) -> str:
        """For example ``"7 agents, 1 exporter"``; empty if it offers nothing."""
        return ", ".join(f"{len(names)} {plural(kind, len(names))}" for kind, names in self.provides.items())

    def to_dict(self) -> dict[str, Any]:
        """Plain data that JSON can hold: every attribute but the exception, and ``provides``."""
        return {
            "name": self.name,
            "dist": self.dist,
            "version": self.version,
            "editable": self.editable,
            "location": self.location,
            "target": self.target,
            "origin": self.origin,
            "first_party": self.first_party,
            "api": self.api,
            "state": self.state,
            "phase": self.phase,
            "error": self.error,
            "traceback": self.traceback,
            "import_cpu_ms": self.import_cpu_ms,
            "heavy": list(self.heavy),
            "warnings": list(self.warnings),
            "provides": self.provides,
            "specs": [spec.to_dict() for spec in self.specs],
        }


@dataclass(frozen=True, slots=True)
class Component(Generic[_S_co]):
    """A spec together with the plugin that offers it."""

    record: Record
    spec: _S_co

    @property
    def qualified(self) -> str:
        """``"optix-torch:PPO"``: the name that is never ambiguous."""
        return f"{self.record.name}:{self.spec.name}"


@dataclass(frozen=True, slots=True)
class Resolution:
    """What ``make_agent`` would build, and how it came to that.

    Attributes:
        record: The plugin.
        spec: The agent's description.
        steps: One line per step, each with how many candidates it left.
    """

    record: Record
    spec: AgentSpec
    steps: tuple[str, ...] = ()

    @property
    def qualified(self) -> str:
        """``"optix-torch:PPO"``."""
        return f"{self.record.name}:{self.spec.name}"


def plural(kind: str, count: int = 2) -> str:
    """A kind of component in words: ``"topology mutators"``, or the singular for a count of 1."""
    words = kind.replace("_", " ")
    return words if count == 1 else f"{words}s"


def qualified_names(components: Iterable[Component[ComponentSpec]] | Sequence[Resolution]) -> tuple[str, ...]:
    """Their unambiguous names, sorted."""
    return tuple(sorted({component.qualified for component in components}))
