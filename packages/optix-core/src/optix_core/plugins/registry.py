"""Which plugins are there, and which components do they offer?

A :class:`Registry` discovers plugins once, on first need, under a lock. Records of what was found are always
available, whatever is broken; components are handed out through typed look-ups. There is one registry per process by
default; tests and tools make their own with entry points of their choice.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Container, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import EntryPoint
from typing import Any

import pluggy

from optix_core._version import __version__
from optix_core.errors import PluginBroken, PluginConflict, PluginError
from optix_core.plugins import loader, lookup
from optix_core.plugins.catalogue import Catalogue
from optix_core.plugins.failures import PluginLoadWarning, PluginSwitchWarning, reason
from optix_core.plugins.hints import canonical
from optix_core.plugins.loader import Found
from optix_core.plugins.records import API_VERSION, Component, Record
from optix_core.plugins.specs import AgentSpec, ComponentSpec
from optix_core.plugins.switches import Switches

Points = Iterable[EntryPoint] | Callable[[], Iterable[EntryPoint]]


class Registry(Catalogue):
    """Plugins and their components.

    Args:
        entry_points: Instead of what is installed: entry points, or a function that gives them.
        switches: Instead of what environment and configuration say.
        plugins: Plugin objects to register as well, as ``(name, object)``, as by :meth:`register_plugin`.
        api_version: Instead of the plugin API of this optix-core.
        core_version: Instead of the version of this optix-core, for requirement checks.
        trace: Called with one line per discovery event.
    """

    def __init__(
        self,
        *,
        entry_points: Points | None = None,
        switches: Switches | None = None,
        plugins: Sequence[tuple[str, object]] = (),
        api_version: str = API_VERSION,
        core_version: str = __version__,
        trace: Callable[[str], None] | None = None,
    ) -> None:
        self._points: Points = loader.installed_entry_points if entry_points is None else entry_points
        self._given_switches = switches
        self._local: dict[str, object] = dict(plugins)
        self._api, self._core = api_version, core_version
        self._trace = trace or _silent
        self._lock = threading.RLock()
        self._loading = False
        self._forget()

    # --- plugins ------------------------------------------------------------------------------------------------

    @property
    def switches(self) -> Switches:
        """What may load; read from environment and configuration on first use unless given."""
        if self._switches is None:
            self._switches = Switches.read()
        return self._switches

    @property
    def manager(self) -> pluggy.PluginManager:
        """The pluggy manager with every plugin that loaded, for call-time hooks."""
        self.load()
        return self._manager

    @property
    def records(self) -> tuple[Record, ...]:
        """One record per plugin, core first, then by name. Loads on first use; no plugin's fault is raised."""
        self.load()
        return tuple(self._records.values())

    def discover(self) -> tuple[Record, ...]:
        """One record per plugin from metadata only; nothing is imported."""
        return tuple(found.record for found in self._discover())

    def record(self, name: str) -> Record | None:
        """The record of the plugin ``name``, in any spelling of it; None if there is none."""
        self.load()
        return self._records.get(canonical(name)) or self._records.get(name)

    def load(self) -> None:
        """Discover and load all plugins unless that is done. No plugin's fault is raised; see :meth:`ensure`.

        Raises:
            PluginError: Called by a plugin while it is being imported.
            ConfigError: A switch has a value that means nothing.
        """
        if self._loaded:
            return
        with self._lock:
            if self._loaded:
                return
            if self._loading:
                raise PluginError(
                    "plugins are being loaded, and one of them asked for components while it was imported; "
                    "a plugin module may only declare specs"
                )
            self._loading = True
            try:
                self._forget()
                for found in self._discover():
                    self._load_one(found)
                for module in self.switches.modules:
                    self._load_one(_from_module(module, taken=self._records))
                for name, plugin in self._local.items():
                    self._load_one(_from_object(name, plugin))
                self._warn_shadowed()
                self._loaded = True
            finally:
                self._loading = False

    def reload(self) -> None:
        """Forget everything and discover anew, for example after installing a package in a notebook.

        Modules that are imported stay imported: a new *version* of a plugin needs a new process.
        """
        import importlib

        importlib.invalidate_caches()
        with self._lock:
            self._forget()
        self.load()

    def register_plugin(self, plugin: object, name: str = "local") -> Record:
        """Add a plugin that is not installed: a module, or any object whose methods are hooks.

        Registering under a name that was registered so before replaces it, so a notebook's cell can run again.

        Raises:
            PluginConflict: An installed plugin has that name.
            PluginBroken: The plugin broke a rule; nothing of it is registered.
        """
        with self._lock:
            self.load()
            name = canonical(name)
            present = self._records.get(name)
            if present is not None and present.origin != "local":
                raise PluginConflict(
                    f"a plugin called {name!r} is loaded already ({present.target}); give another name"
                )
            if present is not None and self._manager.has_plugin(name):
                self._manager.unregister(name=name)
            self._records.pop(name, None)
            self._local.pop(name, None)
            record = self._load_one(_from_object(name, plugin))
            if not record.loaded:
                del self._records[name]
                raise PluginBroken(
                    f"plugin {name!r} was not registered ({reason(record)})"
                ) from record.exception
            self._local[name] = plugin
            self._warn_shadowed()
            return self._records[name]

    def ensure(self) -> None:
        """Load, and complain where that is due: called before components are handed out.

        Warns once about each plugin that failed and each switch that names nothing.

        Raises:
            ExceptionGroup: In strict mode, with one error for every plugin that could not be loaded.
            PluginError: A plugin that the configuration requires is missing, too old or broken.
        """
        self.load()
        broken = [record for record in self._records.values() if record.broken]
        if self.switches.strict and broken:
            raise ExceptionGroup("optix plugins failed to load", [_as_error(record) for record in broken])
        lookup.check_required(self.switches.required, self._records)
        if not self._warned:
            self._warned = True
            for text in self.switches.unknown(self._installed):
                warnings.warn(text, PluginSwitchWarning, stacklevel=3)
            for record in broken:
                text = (
                    f"plugin {record.label} did not load ({reason(record)}); "
                    f"run: optix plugins doctor {record.name}; to disable it: OPTIX_DISABLE_PLUGINS={record.name}"
                )
                warnings.warn(text, PluginLoadWarning, stacklevel=3)

    # --- components ---------------------------------------------------------------------------------------------

    def components(self, kind: str | None = None) -> tuple[Component[ComponentSpec], ...]:
        """All components, or those of one kind, in the order of plugins and of their lists."""
        if kind is not None:
            kind = lookup.kind_name(kind)
        self.ensure()
        return tuple(
            Component(record, spec)
            for record in self._records.values()
            for spec in record.specs
            if kind is None or spec.kind == kind
        )

    def find(self, kind: str, name: str) -> Component[ComponentSpec]:
        """The component of this kind and name, ``"spsa"`` or ``"optix-core:spsa"``, whatever its case.

        Our own distributions win over others unless the name is qualified; a tie among others is an error.

        Raises:
            PluginNotFound: There is none; the message has suggestions and plugins that did not load.
            PluginConflict: Several plugins offer it.
        """
        kind = lookup.kind_name(kind)
        return lookup.find(kind, name, self.components(kind), self._records.values(), self.switches)

    def create(self, kind: str, name: str, /, *args: Any, **options: Any) -> Any:
        """Build the component: ``create("tuner", "spsa", seed=0)``.

        Args:
            kind: For example ``"tuner"``; agents are built by :func:`~optix_core.make_agent`.
            name: As for :meth:`find`.
            args: Passed on to the factory.
            options: Passed on; checked first if the component declares any.

        Raises:
            PluginError: As for :meth:`find`; or its factory cannot be imported.
            MissingDependencyError: A package that it requires is not installed.
            UnknownHyperparamError: It has no such option.
        """
        component = self.find(kind, name)
        if component.spec.kind == "agent":
            raise PluginError(f"agents need an environment; use make_agent({name!r}, env)")
        return lookup.create(component, args, options)

    def spec_for(self, info: Any) -> Component[AgentSpec]:
        """The agent that a checkpoint's ``optix_spec_info`` names.

        Raises:
            PluginNotFound: Its plugin is not installed or has no such agent; the message says what to install.
            PluginBroken: Its plugin is installed but failed.
        """
        return lookup.find_recorded(info, self.agents(), self._records)

    # --- inside -------------------------------------------------------------------------------------------------

    def _forget(self) -> None:
        self._manager = loader.new_manager()
        self._records: dict[str, Record] = {}
        self._installed: tuple[str, ...] = ()
        self._switches = self._given_switches
        self._loaded = self._warned = False

    def _discover(self) -> list[Found]:
        points = self._points() if callable(self._points) else self._points
        found: list[Found] = []
        for item in loader.discover(points, core_version=self._core):
            blocked = self.switches.blocked(item.record.name)
            record = item.record
            if (
                blocked is not None
            ):  # before anything else: what is off is neither imported nor complained about
                record = replace(record, state="disabled", error=blocked, traceback=None, exception=None)
            found.append(replace(item, record=record))
        self._installed = tuple(item.record.name for item in found)
        return found

    def _load_one(self, found: Found) -> Record:
        record = found.record
        if record.state == "found":
            local = record.origin in {"argument", "local"}
            record, _ = loader.load(self._manager, found, api_version=self._api, needs_api=not local)
        self._records[record.name] = record
        detail = f" ({reason(record)})" if record.error else f", {record.provides_text or 'no components'}"
        self._trace(f"{record.state:<12} {record.label} from {record.target}{detail}")
        return record

    def _warn_shadowed(self) -> None:
        """Say so in the records of plugins that offer a name which one of ours has."""
        ours = {
            (spec.kind, spec.name.casefold()): record.name
            for record in self._records.values()
            if record.first_party
            for spec in record.specs
        }
        for record in list(self._records.values()):
            if record.first_party:
                continue
            texts = tuple(
                f"{spec.kind} {spec.name!r} is also offered by {ours[key]}, which is taken unless asked for "
                f"'{record.name}:{spec.name}'"
                for spec in record.specs
                if (key := (spec.kind, spec.name.casefold())) in ours
            )
            new = tuple(text for text in texts if text not in record.warnings)
            if new:
                self._records[record.name] = replace(record, state="ok!", warnings=(*record.warnings, *new))


_process: dict[str, Registry] = {}


def default_registry() -> Registry:
    """The registry of this process, made on first need; it loads nothing before it is used."""
    return _process.setdefault("registry", Registry())  # one atomic step: no lock of ours is made at import


@contextmanager
def use_registry(registry: Registry) -> Generator[Registry]:
    """Make ``registry`` the process's own inside a ``with`` block, for tests and tools; for all threads."""
    before = default_registry()
    _process["registry"] = registry
    try:
        yield registry
    finally:
        _process["registry"] = before


def configure(
    *,
    plugins: str | Iterable[str] | None = None,
    disable: str | Iterable[str] = (),
    modules: Iterable[str] = (),
    strict: bool | None = None,
    trace: Callable[[str], None] | None = None,
) -> Registry:
    """Replace the process's registry by one with the command line's switches; see :meth:`Switches.read`."""
    switches = Switches.read(plugins=plugins, disable=disable, modules=modules, strict=strict)
    _process["registry"] = Registry(switches=switches, trace=trace)
    return _process["registry"]


def register_plugin(plugin: object, name: str = "local") -> Record:
    """Add a plugin that is not installed, to the process's registry; see :meth:`Registry.register_plugin`."""
    return default_registry().register_plugin(plugin, name)


def _from_module(module: str, taken: Container[str]) -> Found:
    """What ``-p module`` asks for."""
    import importlib

    name = canonical(module)
    record = Record(name=f"{name}/-p" if name in taken else name, target=module, origin="argument")
    return Found(record, lambda: importlib.import_module(module))


def _from_object(name: str, plugin: object) -> Found:
    target = getattr(plugin, "__name__", None) or f"{type(plugin).__module__}:{type(plugin).__qualname__}"
    return Found(Record(name=canonical(name), target=str(target), origin="local"), lambda: plugin)


def _as_error(record: Record) -> PluginBroken:
    error = PluginBroken(f"plugin {record.label} did not load ({reason(record)})")
    error.__cause__ = record.exception
    return error


def _silent(line: str) -> None:
    del line


__all__ = ["Registry", "configure", "default_registry", "register_plugin", "use_registry"]
