"""Who is asked about agents while optix works: ``optix_select_agent`` and ``optix_agent_created``.

Each implementation is called by itself, so that a failure names its plugin. Only plugins that the user named may
select: a package that merely is installed must not change what an existing call returns.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any, cast

from optix_core.plugins.failures import AgentPluginBroken, PluginHookWarning

if TYPE_CHECKING:
    from pluggy import HookImpl

    from optix_core.plugins.protocol import AgentRequest
    from optix_core.plugins.records import Component, Resolution
    from optix_core.plugins.registry import Registry
    from optix_core.plugins.specs import AgentSpec


def selected(
    registry: Registry, request: AgentRequest, candidates: Sequence[Component[AgentSpec]]
) -> tuple[Component[AgentSpec], str] | None:
    """What the hook ``optix_select_agent`` chooses, and the plugin that chose it; None if none of them wants to.

    Raises:
        AgentPluginBroken: An implementation failed, or chose something that is not among the candidates.
    """
    impls = [
        impl
        for impl in reversed(registry.manager.hook.optix_select_agent.get_hookimpls())
        if _may_select(registry, impl.plugin_name)
    ]
    if not impls:
        return None
    specs = [component.spec for component in candidates]
    arguments = {"request": request, "candidates": tuple(specs)}
    open_wrappers: list[tuple[HookImpl, Generator[None, Any, Any]]] = []
    chosen: Any = None
    who = ""
    for impl in (impl for impl in impls if impl.wrapper):
        around = cast("Generator[None, Any, Any]", _call(impl, arguments))
        _step(impl, around)
        open_wrappers.append((impl, around))
    for impl in (impl for impl in impls if not impl.wrapper):
        chosen, who = _call(impl, arguments), impl.plugin_name
        if chosen is not None:
            _check(chosen, specs, who)
            break
    for impl, around in reversed(open_wrappers):
        before = chosen
        chosen = _finish(impl, around, chosen)
        if chosen is not before:
            who = impl.plugin_name
            if chosen is not None:
                _check(chosen, specs, who)
    if chosen is None:
        return None
    return next(c for c in candidates if c.spec is chosen or c.spec == chosen), who


def announce(registry: Registry, agent: Any, resolution: Resolution, request: AgentRequest) -> None:
    """Tell every plugin that an agent was built; a failure is warned about and stops nothing."""
    arguments = {"agent": agent, "spec": resolution.spec, "request": request}
    for impl in registry.manager.hook.optix_agent_created.get_hookimpls():
        try:
            impl.function(*(arguments[name] for name in impl.argnames))
        except Exception as fault:  # noqa: BLE001 - one plugin's fault must not reach the others or the caller
            text = f"plugin {impl.plugin_name}: optix_agent_created failed: {type(fault).__name__}: {fault}"
            warnings.warn(text, PluginHookWarning, stacklevel=3)


def _may_select(registry: Registry, name: str) -> bool:
    record = registry.record(name)
    if record is None:
        return False
    return (
        record.first_party or record.origin in {"argument", "local"} or registry.switches.names(record.name)
    )


def _call(impl: HookImpl, arguments: dict[str, Any]) -> Any:
    try:
        return impl.function(*(arguments[name] for name in impl.argnames))
    except Exception as fault:
        raise _broken(impl.plugin_name, f"failed: {type(fault).__name__}: {fault}") from fault


def _step(impl: HookImpl, around: Generator[None, Any, Any]) -> None:
    try:
        next(around)
    except StopIteration:
        raise _broken(impl.plugin_name, "is a wrapper that does not yield") from None
    except Exception as fault:
        raise _broken(impl.plugin_name, f"failed: {type(fault).__name__}: {fault}") from fault


def _finish(impl: HookImpl, around: Generator[None, Any, Any], result: Any) -> Any:
    try:
        around.send(result)
    except StopIteration as end:
        return end.value
    except Exception as fault:
        raise _broken(impl.plugin_name, f"failed: {type(fault).__name__}: {fault}") from fault
    around.close()
    raise _broken(impl.plugin_name, "is a wrapper that yields twice")


def _check(chosen: object, specs: Sequence[AgentSpec], who: str) -> None:
    if chosen not in specs:
        raise _broken(who, f"returned {chosen!r:.80}, which is not one of the candidates")


def _broken(plugin: str, what: str) -> AgentPluginBroken:
    return AgentPluginBroken(
        f"plugin {plugin}: optix_select_agent {what}. To go without it: OPTIX_DISABLE_PLUGINS={plugin}"
    )
