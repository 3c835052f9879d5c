"""How is one plugin found, checked and loaded, without ever harming the others?

Phases: discover (metadata only), requires (the core version it needs, still without import), import, api, validate
(hook signatures), register (its specs). A fault in any of them ends in the plugin's record
(:class:`~optix_core.plugins.records.Record`). pluggy's own entry-point loader is not used: it stops at the first
plugin that fails.
"""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

import pluggy

from optix_core._version import __version__
from optix_core.errors import PluginError
from optix_core.plugins.hints import canonical, did_you_mean
from optix_core.plugins.hookspecs import HOOKS, PROJECT, REGISTRATION_HOOKS, Specs
from optix_core.plugins.records import API_VERSION, CORE, ENTRY_POINT_GROUP, Phase, Record, State
from optix_core.plugins.requirements import core_requirement, satisfies
from optix_core.plugins.specs import SPEC_TYPES, ComponentSpec

BUILTIN = "optix_core.plugins.builtin"
"""The module that registers core's own components."""
SLOW_MS = 150.0
"""CPU time of a plugin module's import above which it gets a warning."""
HEAVY = (
    "torch", "tensorflow", "keras", "jax", "flax", "optax", "numpy", "scipy", "gymnasium", "pandas", "matplotlib",
    "optuna", "ray", "sklearn", "wandb",
)  # fmt: skip
"""Modules that a plugin module should not import; watched by name, which is exact where a clock is not."""


@dataclass(frozen=True, slots=True)
class Found:
    """A plugin that was discovered and not yet loaded; ``load`` gives the plugin object."""

    record: Record
    load: Callable[[], object] | None = None


class PluginFault(PluginError):
    """A plugin broke a rule in the phase named; caught by the loader and kept in the plugin's record."""

    def __init__(self, phase: Phase, message: str, state: State = "failed") -> None:
        super().__init__(message)
        self.phase: Phase = phase
        self.state: State = state


def new_manager() -> pluggy.PluginManager:
    """An empty plugin manager that knows our hooks."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(Specs)
    return manager


def installed_entry_points() -> Iterable[EntryPoint]:
    """All entry points of our group in this environment; of two installations of one distribution the first counts."""
    return entry_points(group=ENTRY_POINT_GROUP)


def discover(points: Iterable[EntryPoint], *, core_version: str = __version__) -> list[Found]:
    """Plugins by name, core first, from metadata only; nothing is imported.

    The result depends on neither the order of ``points`` nor the names of entry points: a plugin is called
    what its distribution is called.

    Args:
        points: Entry points of our group.
        core_version: The version of optix-core that requirements are checked against.
    """
    core = Record(name=CORE, dist=CORE, version=__version__, target=BUILTIN, origin="core")
    found: dict[str, Found] = {}
    for point in sorted(points, key=lambda p: (_rank(p), p.name, p.value)):
        record = _describe(point)
        if record.name == CORE:
            if record.dist is not None:
                core = replace(core, editable=record.editable, location=record.location)
            continue
        if record.name in found:
            first = found[record.name].record
            record = _failed(
                replace(record, name=f"{record.name}/{point.name}"),
                PluginFault(
                    "discover",
                    f"{record.name} has a second entry point {point.name!r} in {ENTRY_POINT_GROUP}; "
                    f"only one is loaded, {first.target!r}",
                ),
            )
        elif record.state == "found":
            record = check_requires(record, point, core_version)
        found[record.name] = Found(record, point.load)
    own = Found(core, lambda: __import__(BUILTIN, fromlist=["*"]))
    return [own, *found.values()]


def check_requires(record: Record, point: EntryPoint, core_version: str) -> Record:
    """``record``, marked incompatible if its distribution wants another optix-core."""
    if point.dist is None:
        return record
    try:
        wanted = core_requirement(point.dist.requires or (), CORE)
        if wanted is not None and not satisfies(wanted, core_version):
            text = f"needs {CORE}{wanted}, found {core_version}"
            raise PluginFault("requires", text, "incompatible")
    except Exception as fault:  # noqa: BLE001 - metadata is written by others; a fault in it is this plugin's
        return _failed(record, fault, "requires")
    return record


def load(
    manager: pluggy.PluginManager, found: Found, *, api_version: str = API_VERSION, needs_api: bool = True
) -> tuple[Record, object | None]:
    """Import, check and register one plugin; never raises for a fault of the plugin.

    Args:
        manager: Where it is registered; untouched if anything is wrong.
        found: What to load.
        api_version: The plugin API that is offered.
        needs_api: Whether the plugin must say which API it was written for.

    Returns:
        Its record with the outcome, and the plugin object if it was registered.

    Raises:
        KeyboardInterrupt: The user interrupted an import.
    """
    record = found.record
    assert found.load is not None
    before = {name for name in HEAVY if name in sys.modules}
    started = time.thread_time()
    try:
        plugin = found.load()
    except KeyboardInterrupt:
        raise
    except BaseException as fault:  # noqa: BLE001 - SystemExit too: being installed must not end the program
        return _failed(_timed(record, started, before), fault, "import"), None
    record = _timed(record, started, before)
    try:
        record = replace(record, phase="api", api=_api(plugin, api_version, needed=needs_api))
        specs = _register(manager, record.name, plugin)
    except KeyboardInterrupt:
        raise
    except BaseException as fault:  # noqa: BLE001 - whatever a plugin's hooks raise is kept in its record
        if manager.has_plugin(record.name):  # pluggy 1.6 keeps what failed validation half registered
            manager.unregister(name=record.name)
        return _failed(record, fault, "register"), None
    warnings = _import_warnings(record)
    state: State = "ok!" if warnings else "ok"
    return replace(record, state=state, phase="register", specs=specs, warnings=warnings), plugin


def _rank(point: EntryPoint) -> tuple[str, bool]:
    """Order of entry points: by distribution, and within one first that which is named like it."""
    name = point.dist.name if point.dist is not None and point.dist.name else point.name
    return canonical(name), canonical(point.name) != canonical(name)


def _describe(point: EntryPoint) -> Record:
    """What metadata says about a plugin."""
    record = Record(name=canonical(point.name), target=point.value, phase="discover")
    dist = point.dist
    if dist is None:
        return record
    name = cast("str | None", dist.name)
    if not name:
        return _failed(record, PluginFault("discover", "its metadata has no name; reinstall it"))
    location, editable = _location(dist)
    return replace(
        record, name=canonical(name), dist=name, version=dist.version, location=location, editable=editable
    )


def _location(dist: Any) -> tuple[str | None, bool]:
    """Where a distribution lies, and whether it is an editable install (PEP 610)."""
    text = dist.read_text("direct_url.json")
    if text:
        import json

        try:
            origin = cast("dict[str, Any]", json.loads(text))
            if origin.get("dir_info", {}).get("editable"):
                from urllib.parse import unquote, urlparse

                return unquote(urlparse(str(origin.get("url", ""))).path) or None, True
        except (ValueError, AttributeError):  # written by an installer; where it lies is only information
            pass
    try:
        return str(dist.locate_file("")), False
    except NotImplementedError:
        return None, False


def _timed(record: Record, started: float, before: set[str]) -> Record:
    milliseconds = (time.thread_time() - started) * 1e3
    heavy = tuple(name for name in HEAVY if name in sys.modules and name not in before)
    return replace(record, phase="import", import_cpu_ms=round(milliseconds, 1), heavy=heavy)


def _import_warnings(record: Record) -> tuple[str, ...]:
    if record.heavy:
        text = (
            f"its plugin module imports {', '.join(record.heavy)}; move that behind the factory string "
            "(and keep the package's __init__ lazy)"
        )
        return (text,)
    if (record.import_cpu_ms or 0.0) > SLOW_MS:
        return (
            f"slow import: {record.import_cpu_ms:.0f} ms of CPU time; a plugin module should only hold specs",
        )
    return ()


def _api(plugin: object, offered: str, *, needed: bool) -> str:
    """The API the plugin was written for, if it can work with the one offered."""
    wanted = getattr(plugin, "OPTIX_API", None)
    if wanted is None:
        if needed:
            raise PluginFault(
                "api", f'it does not say OPTIX_API; add OPTIX_API = "{offered}" to the plugin module'
            )
        return offered
    numbers = wanted.split(".") if isinstance(wanted, str) else []
    if len(numbers) != 2 or not all(number.isdecimal() for number in numbers):
        raise PluginFault(
            "api", f'OPTIX_API is {wanted!r}; it must read "major.minor", for example "{offered}"'
        )
    major, minor = map(int, numbers)
    core_major, core_minor = map(int, offered.split("."))
    if major == core_major and minor <= core_minor:
        return cast("str", wanted)
    who = CORE if (major, minor) > (core_major, core_minor) else "the plugin"
    text = f"written for plugin API {wanted}, this {CORE} has {offered}; upgrade {who}"
    raise PluginFault("api", text, "incompatible")


def _register(manager: pluggy.PluginManager, name: str, plugin: object) -> tuple[ComponentSpec, ...]:
    """Register ``plugin`` and collect its specs; all or nothing."""
    _check_marked(plugin)
    try:
        manager.register(plugin, name=name)
    except pluggy.PluginValidationError as fault:
        raise PluginFault("validate", _first_lines(fault)) from fault
    except ValueError as fault:
        raise PluginFault("validate", f"its plugin object is registered already: {fault}") from fault
    for caller in manager.get_hookcallers(plugin) or ():
        mine = [impl for impl in caller.get_hookimpls() if impl.plugin is plugin]
        if not caller.has_spec() and not all(impl.optionalhook for impl in mine):
            meant = did_you_mean(caller.name, HOOKS).replace(" Did", "; did", 1)
            raise PluginFault("register", f"unknown hook {caller.name!r}{meant}")
    specs: list[ComponentSpec] = []
    for hook, kind in REGISTRATION_HOOKS.items():
        for impl in getattr(manager.hook, hook).get_hookimpls():
            if impl.plugin is plugin:
                if impl.wrapper or impl.hookwrapper:
                    raise PluginFault("register", f"{hook}() is a wrapper; it must be a plain function")
                specs.extend(_collect(hook, impl.function, SPEC_TYPES[kind]))
    _check_unique(specs)
    return tuple(specs)


def _check_marked(plugin: object) -> None:
    """A function named like a hook and not marked would be ignored without a word."""
    for hook in HOOKS:
        function = inspect.getattr_static(plugin, hook, None)
        if inspect.isroutine(function) and not hasattr(getattr(plugin, hook), f"{PROJECT}_impl"):
            raise PluginFault("register", f"{hook}() is not marked; put @hookimpl above it")


def _collect(hook: str, function: Callable[[], object], expected: type[ComponentSpec]) -> list[ComponentSpec]:
    """The specs that one registration hook returns."""
    result = function()
    if result is None:
        raise PluginFault("register", f"{hook}() returned None; return a list")
    if isinstance(result, str | bytes | ComponentSpec) or not isinstance(result, Iterable):
        what = f"returned {type(result).__name__}; it must return a list of {expected.__name__}"
        raise PluginFault("register", f"{hook}() {what}")
    specs: list[ComponentSpec] = []
    for index, item in enumerate(cast("Iterable[object]", result)):
        if not isinstance(item, expected):
            what = f"is {type(item).__name__}; it must be {expected.__name__}"
            raise PluginFault("register", f"{hook}()[{index}] {what}")
        _check_requirements(hook, index, item)
        specs.append(item)
    return specs


def _check_requirements(hook: str, index: int, spec: ComponentSpec) -> None:
    if not spec.requires:
        return
    from packaging.requirements import InvalidRequirement, Requirement

    for text in spec.requires:
        try:
            Requirement(text)
        except InvalidRequirement as fault:
            raise PluginFault(
                "register", f"{hook}()[{index}]: requires {text!r}: {_first_lines(fault, 1)}"
            ) from fault


def _check_unique(specs: Iterable[ComponentSpec]) -> None:
    seen: set[tuple[str, str]] = set()
    for spec in specs:
        key = (spec.kind, spec.name.casefold())
        if key in seen:
            raise PluginFault(
                "register", f"two {spec.kind} specs are called {spec.name!r}; names must differ"
            )
        seen.add(key)


def _failed(record: Record, fault: BaseException, phase: Phase | None = None) -> Record:
    """``record`` with the fault written down."""
    import traceback

    lines = traceback.format_exception(fault)
    if isinstance(fault, PluginFault):
        return replace(
            record, state=fault.state, phase=fault.phase, error=fault.message, traceback="".join(lines),
            exception=fault,
        )  # fmt: skip
    text = (
        fault.message if isinstance(fault, PluginError) else f"{type(fault).__name__}: {fault}".rstrip(": ")
    )
    return replace(
        record,
        state="failed",
        phase=phase,
        error=" ".join(text.split()),
        traceback="".join(lines),
        exception=fault,
    )


def _first_lines(fault: BaseException, count: int = 3) -> str:
    """The first lines of a message as one."""
    return " ".join(" ".join(str(fault).strip().splitlines()[:count]).split())
