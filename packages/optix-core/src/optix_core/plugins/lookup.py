"""Which single component does a name mean, and how is it built?"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

from optix_core.errors import (
    MissingDependencyError,
    PluginBlocked,
    PluginBroken,
    PluginConflict,
    PluginError,
    PluginNotFound,
)
from optix_core.hyperparams import UnknownHyperparamError, unknown_name, validate
from optix_core.plugins.failures import listed, message, notes, reason
from optix_core.plugins.hints import canonical, did_you_mean, install_command
from optix_core.plugins.records import Component, Record, plural
from optix_core.plugins.requirements import satisfies, unmet
from optix_core.plugins.specs import SPEC_TYPES, AgentSpec, ComponentSpec
from optix_core.plugins.switches import Switches

S = TypeVar("S", bound=ComponentSpec)


def kind_name(kind: str) -> str:
    """A kind of component in its own spelling; plurals and hyphens are accepted, and ``mutator``.

    Raises:
        PluginError: There is no such kind.
    """
    folded = kind.strip().casefold().replace("-", "_").replace(" ", "_")
    for candidate in (folded, folded.removesuffix("s")):
        name = "topology_mutator" if candidate == "mutator" else candidate
        if name in SPEC_TYPES:
            return name
    raise PluginError(
        f"there is no kind of component called {kind!r}.{did_you_mean(folded, SPEC_TYPES)} "
        f"Kinds: {', '.join(SPEC_TYPES)}"
    )


def find(
    kind: str,
    name: str,
    components: Sequence[Component[ComponentSpec]],
    records: Iterable[Record],
    switches: Switches,
) -> Component[ComponentSpec]:
    """The component that ``name`` means among ``components``; see :meth:`Registry.find`."""
    left, colon, right = name.rpartition(":")
    named = [c for c in components if c.spec.name.casefold() == right.strip().casefold()]
    fitting = [c for c in named if c.record.name == canonical(left)] if colon else named
    if not fitting:
        raise _not_found(kind, name, components, records)
    preferred = switches.prefer.get(right.strip().casefold())
    ours = [c for c in fitting if c.record.first_party]
    choice = [c for c in fitting if c.record.name == preferred] or ours or fitting
    if len(choice) > 1:
        names = sorted(c.qualified for c in choice)
        raise PluginConflict(
            f"{plural(kind, 1)} {name!r} is offered by {len(choice)} plugins: {', '.join(names)}. Name one of them.",
            code="E-AMBIGUOUS",
        )
    return choice[0]


def create(component: Component[ComponentSpec], args: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """Build a component that is not an agent."""
    check_requires(component)
    if component.spec.accepted:
        options = checked_options(component, options)
    return load_factory(component)(*args, **options)


def checked_options(component: Component[ComponentSpec], options: Mapping[str, Any]) -> dict[str, Any]:
    """``options`` with every name known and every hyperparameter among them validated.

    Raises:
        UnknownHyperparamError: The component has no such option; the message has the nearest one and the full list.
        HyperparamError: A value is not valid.
    """
    spec = component.spec
    hypers = {hyper.name for hyper in spec.hyperparams}
    for name in options:
        if name not in spec.accepted:
            raise UnknownHyperparamError(unknown_name(name, spec.accepted, owner=component.qualified))
    given = {name: value for name, value in options.items() if name in hypers}
    return {**options, **validate(given, spec.hyperparams, owner=component.qualified)}


def check_requires(component: Component[ComponentSpec]) -> None:
    """Is everything that the component needs installed?

    Raises:
        MissingDependencyError: With what is missing, what was found and how to install it.
    """
    missing = unmet(component.spec.requires)
    if missing:
        import sys

        needs = ", ".join(item.requirement for item in missing)
        have = ", ".join(item.found or "none" for item in missing)
        raise MissingDependencyError(
            f"{component.qualified} needs {needs}, which this Python cannot import (found: {have}). "
            f"Install: {install_command(*(item.requirement for item in missing))}. Python: {sys.executable}",
            candidates=(component.qualified,),
        )


def load_factory(
    component: Component[ComponentSpec], error: Callable[[str], PluginError] = PluginBroken
) -> Callable[..., Any]:
    """Import what the factory string names.

    Args:
        component: Whose factory.
        error: Makes the error that is raised.

    Raises:
        PluginBroken: The import failed, the attribute is missing or cannot be called; the cause is attached.
    """
    module, _, path = component.spec.factory.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except Exception as fault:
        record = component.record
        raise error(
            f"{component.qualified} is registered by {record.label}, but importing {component.spec.factory!r} failed: "
            f"{type(fault).__name__}: {fault}. Run: optix plugins doctor {record.name}"
        ) from fault
    if not callable(found):
        raise error(
            f"{component.qualified} is registered by {component.record.label}, but {component.spec.factory!r} is "
            f"{type(found).__name__}, which cannot be called"
        )
    return cast("Callable[..., Any]", found)


def find_recorded(
    info: Mapping[str, Any], agents: Iterable[Component[AgentSpec]], records: Mapping[str, Record]
) -> Component[AgentSpec]:
    """The agent that a checkpoint was made with; see :meth:`Registry.spec_for`."""
    plugin, name = canonical(str(info.get("plugin", ""))), str(info.get("spec", ""))
    for component in agents:
        if component.record.name == plugin and component.spec.name == name:
            return component
    made = f"this was made with {plugin} {info.get('version') or ''}".rstrip() + f" (agent {name})"
    record = records.get(plugin)
    if record is None:
        raise PluginNotFound(f"{made}, which is not installed. Install: {install_command(plugin)}")
    if record.broken:
        raise PluginBroken(
            f"{made}, which is installed but did not load ({reason(record)})"
        ) from record.exception
    if record.state == "disabled":
        raise PluginBlocked(f"{made}, which is installed but {record.error}")
    raise PluginNotFound(f"{made}; the installed {record.label} has no agent of that name")


def check_required(required: Iterable[str], records: Mapping[str, Record]) -> None:
    """Are the plugins that the configuration requires loaded, in the version it wants?

    Raises:
        PluginNotFound: Not installed, or another version.
        PluginBroken: Installed but failed.
        PluginBlocked: Installed but switched off.
    """
    for text in required:
        from packaging.requirements import InvalidRequirement, Requirement

        try:
            requirement = Requirement(text)
        except InvalidRequirement as fault:
            raise PluginError(f"plugins.required has {text!r}, which is not a requirement: {fault}") from None
        record = records.get(canonical(requirement.name))
        if record is None:
            raise PluginNotFound(
                f"the configuration requires the plugin {text}, which is not installed. "
                f"Install: {install_command(text)}"
            )
        if record.state == "disabled":
            raise PluginBlocked(f"the configuration requires the plugin {text}, which is {record.error}")
        if not record.loaded:
            raise PluginBroken(
                f"the configuration requires the plugin {text}, which did not load ({reason(record)})"
            ) from record.exception
        if record.version is not None and not satisfies(str(requirement.specifier), record.version):
            raise PluginNotFound(
                f"the configuration requires the plugin {text}, found {record.version}. "
                f"Install: {install_command(text)}"
            )


def _not_found(
    kind: str, name: str, components: Sequence[Component[ComponentSpec]], records: Iterable[Record]
) -> PluginNotFound:
    left, colon, right = name.rpartition(":")
    records = tuple(records)
    plugin = next((record for record in records if colon and record.name == canonical(left)), None)
    if plugin is not None and plugin.broken:
        raise PluginBroken(
            f"{name!r}: plugin {plugin.label} is installed but failed ({reason(plugin)}). "
            f"Run: optix plugins doctor {plugin.name}"
        ) from plugin.exception
    if plugin is not None and plugin.state == "disabled":
        raise PluginBlocked(f"{name!r}: plugin {plugin.label} is installed but {plugin.error}")
    words = plural(kind, 1)
    available = sorted(c.qualified for c in components)
    meant = did_you_mean(right, sorted({c.spec.name for c in components}))
    return PluginNotFound(
        message(
            f"no {words} named {name!r}.{meant} "
            + (f"Available: {listed(available)}" if available else f"No plugin offers any {words}."),
            *notes(records, first=[canonical(left)] if colon else []),
        ),
        code="E-UNKNOWN-COMPONENT",
    )
