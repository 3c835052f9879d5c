"""What is wrong with the installed plugins, and what mends it?

Looks at metadata first, then imports every plugin in a process of its own, so that a crash or a hang is one more
finding.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any, Literal, cast

from optix_core.plugins.hints import canonical, install_command
from optix_core.plugins.records import API_VERSION, CORE, ENTRY_POINT_GROUP, Record
from optix_core.plugins.registry import Registry
from optix_core.plugins.requirements import core_requirement, unmet

Status = Literal["ok", "warning", "error"]
DEEP_SECONDS = 600.0
"""What the conformance checks of one plugin may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        plugin: Whose it is; None if it concerns the environment.
        check: What was looked at.
        status: ``"ok"``, ``"warning"`` or ``"error"``.
        message: What was found, and for a fault what to do.
        data: Further plain data for ``--json``.
    """

    plugin: str | None
    check: str
    status: Status
    message: str
    data: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorReport:
    """All findings, and where they were made.

    Attributes:
        environment: Names and values that a bug report needs.
        findings: In the order in which they were made.
    """

    environment: dict[str, str]
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(f.status == "error" for f in self.findings)

    @property
    def warnings(self) -> int:
        """How many findings are warnings."""
        return sum(f.status == "warning" for f in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for ``--json``."""
        return {
            "environment": self.environment,
            "errors": self.errors,
            "warnings": self.warnings,
            "findings": [asdict(f) for f in self.findings],
        }

    def __str__(self) -> str:
        lines = ["environment", *(f"  {name:<10}{value}" for name, value in self.environment.items())]
        for plugin in dict.fromkeys(f.plugin for f in self.findings):
            lines.append(plugin or "installation")
            for finding in (f for f in self.findings if f.plugin == plugin):
                first, *more = finding.message.splitlines() or [""]
                lines.append(f"  {finding.status:<9}{finding.check}: {first}")
                lines += [f"           {line}" for line in more]
        return "\n".join([*lines, f"{_count(self.errors, 'error')}, {_count(self.warnings, 'warning')}"])


def examine(
    registry: Registry, *, only: str | None = None, deep: bool = False, timeout: float = 30.0
) -> DoctorReport:
    """Look at the environment and at every plugin.

    Args:
        registry: Says which plugins there are and which are switched off; it imports nothing here.
        only: Examine this plugin only, by its canonical name; the environment's findings about others are left out.
        deep: Also run the conformance checks of every component.
        timeout: Seconds that one plugin may take to import.
    """
    records = registry.discover()
    modules = [Record(name=canonical(m), target=m, origin="argument") for m in registry.switches.modules]
    findings = [*_installation(), *_switches(registry, records)]
    findings += [
        f for record in (*records, *modules) for f in _plugin(record, only=only, deep=deep, timeout=timeout)
    ]
    if only is not None:
        findings = [f for f in findings if f.plugin == canonical(only)]
    return DoctorReport(environment=_environment(), findings=tuple(findings))


def _environment() -> dict[str, str]:
    import platform

    from optix_core._version import __version__

    venv = sys.prefix if sys.prefix != sys.base_prefix else "none"
    return {
        "python": f"{platform.python_version()} ({sys.executable})",
        "venv": venv,
        "system": platform.platform(terse=True),
        "core": f"{CORE} {__version__}, plugin API {API_VERSION}",
        "install": install_command("NAME"),
    }


# --- what metadata says ---------------------------------------------------------------------------------------------


def _related() -> dict[str, list[Distribution]]:
    """Distributions that have to do with optix, by canonical name, each in the order of the search path."""
    found: dict[str, list[Distribution]] = {}
    for dist in distributions():
        name = canonical(cast("str | None", dist.name) or "")
        registers = any(point.group == ENTRY_POINT_GROUP for point in dist.entry_points)
        if name.startswith("optix-") or registers or _requires_core(dist):
            found.setdefault(name, []).append(dist)
    return found


def _requires_core(dist: Distribution) -> bool:
    try:
        return core_requirement(dist.requires or (), CORE) is not None
    except ValueError:
        return (
            False  # unreadable requirements of whatever package; that of a plugin is reported by the loader
        )


def _place(dist: Distribution) -> str:
    """Where a distribution's metadata lies."""
    path = getattr(dist, "_path", None)  # no public name for it; only shown
    return str(path if path is not None else dist.locate_file(""))


def _installation() -> Iterable[Finding]:
    for name, dists in sorted(_related().items()):
        places = list(dict.fromkeys(os.path.realpath(_place(d)) for d in dists))
        if len(places) > 1:
            stale = "; ".join(places[1:])
            yield Finding(
                plugin=name,
                check="metadata",
                status="warning",
                message=f"installed twice: {places[0]} is used, hiding {stale}."
                f" Delete the stale one, or reinstall {name}",
                data={"places": places},
            )
        first = dists[0]
        if not any(point.group == ENTRY_POINT_GROUP for point in first.entry_points):
            yield Finding(
                plugin=name,
                check="entry point",
                status="warning",
                message=f"installed from {places[0]}, but it names no plugin module in {ENTRY_POINT_GROUP}, so it"
                " registers nothing. If its pyproject.toml has one, reinstall it: installing writes entry points",
            )
        yield from _unmet(name, first)


def _unmet(name: str, dist: Distribution) -> Iterable[Finding]:
    try:
        missing = unmet(r for r in dist.requires or () if "extra ==" not in r)
    except ValueError as error:
        yield Finding(plugin=name, check="requirements", status="error", message=f"cannot be read: {error}")
        return
    for item in missing:
        yield Finding(
            plugin=name,
            check="requirements",
            status="error",
            message=f"needs {item.requirement}, found {item.found or 'none'}."
            f" Install: {install_command(item.requirement)}",
        )


def _switches(registry: Registry, records: Sequence[Record]) -> Iterable[Finding]:
    for sentence in registry.switches.unknown([r.name for r in records]):
        yield Finding(plugin=None, check="switches", status="warning", message=sentence)


# --- what importing says --------------------------------------------------------------------------------------------


def _plugin(record: Record, *, only: str | None, deep: bool, timeout: float) -> Iterable[Finding]:
    if only is not None and record.name != canonical(only):
        return
    if record.state == "disabled":
        yield Finding(
            plugin=record.name, check="import", status="ok", message=f"not examined: {record.error}"
        )
        return
    if record.broken:
        yield _failure(
            record.name, record.phase or "discover", record.error or record.state, record.traceback
        )
        return
    answer = _ask(record, "import", deep=deep, timeout=timeout)
    yield from answer
    if deep and not any(f.status == "error" for f in answer):
        yield from _ask(record, "conformance", deep=deep, timeout=DEEP_SECONDS)


def _failure(plugin: str, phase: str, error: str, traceback: str | None = None) -> Finding:
    return Finding(
        plugin=plugin,
        check=phase,
        status="error",
        message=f"{error}\nto switch it off: OPTIX_DISABLE_PLUGINS={plugin}, or --no-plugin {plugin}",
        data={"traceback": traceback} if traceback else {},
    )


def _ask(
    record: Record, what: Literal["import", "conformance"], *, deep: bool, timeout: float
) -> list[Finding]:
    """What a process of its own finds out about one plugin."""
    with tempfile.TemporaryDirectory(prefix="optix-doctor-") as folder:
        answer = Path(folder) / "answer.json"
        job = {"plugin": record.name, "target": record.target, "origin": record.origin}
        job |= {"what": what, "deep": deep, "answer": str(answer)}
        try:
            done = subprocess.run(
                [sys.executable, "-m", "optix_core.plugins.doctor_child", json.dumps(job)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=timeout,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            )
        except subprocess.TimeoutExpired:
            return [
                _failure(record.name, what, f"not done after {timeout:g} s; it hangs or does far too much")
            ]
        if not answer.exists():
            return [_failure(record.name, what, _ending(done))]
        found: list[dict[str, Any]] = json.loads(answer.read_text(encoding="utf-8"))
    return [
        Finding(**item) if item["status"] != "error" or item["check"] not in {"import", "api", "validate", "register"}
        else _failure(record.name, item["check"], item["message"], item["data"].get("traceback"))
        for item in found
    ]  # fmt: skip


def _ending(done: subprocess.CompletedProcess[str]) -> str:
    """How a process ended that gave no answer."""
    last = (done.stderr.strip().splitlines() or ["nothing on standard error"])[-1]
    if done.returncode < 0:
        number = -done.returncode
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = "unknown"
        return f"killed by signal {number} ({name}); {last}"
    return f"ended the process with status {done.returncode}; {last}"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
