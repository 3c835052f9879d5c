"""Why did no agent fit, and what should the caller do now?

One function per way in which :mod:`optix_core.plugins.resolution` can fail. Each returns the error to raise; none has
more than six lines. They are in one module, though it is a long one, because they are read side by side: the same
situation has to be worded the same way everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from optix_core.errors import AgentResolutionError, MissingDependencyError
from optix_core.plugins import hints
from optix_core.plugins.failures import (
    AgentPluginBlocked,
    AgentPluginBroken,
    AgentPluginNotFound,
    AgentSpaceError,
    AmbiguousAgentError,
    listed,
    message,
    notes,
)
from optix_core.plugins.records import Component, Record, qualified_names
from optix_core.plugins.requirements import Unmet
from optix_core.plugins.specs import SPACE_KINDS, AgentSpec

if TYPE_CHECKING:
    from optix_core.plugins.resolution import Search

Agents = Sequence[Component[AgentSpec]]


def no_backend(search: Search) -> AgentResolutionError:
    """There is no agent at all."""
    name = search.request.name
    asked = search.request.qualifier
    if asked is not None and (known := _plugin(search, asked)) is not None and not known.loaded:
        return _not_loaded(search, known)
    dists = hints.distributions_with(name) if name else ()
    where = f"{name} is in: {', '.join(dists)}." if dists else f"Agents are in: {', '.join(_backends())}."
    loaded = {record.name for record in search.registry.records if record.loaded}
    missing = [dist for dist in dists or _backends() if dist not in loaded]
    broken = [record.name for record in search.registry.records if record.broken]
    install = [dist for dist in missing if dist not in broken and not _installed(search, dist)]
    error = _kind(search, missing)(
        message(
            f"no agent backend is installed. {where}"
            + (f" Install one, for example: {hints.install_command(install[0])}" if install else ""),
            *notes(search.registry.records, first=missing),
        ),
        code="E-NO-BACKEND",
        suggestions=tuple(missing),
        steps=tuple(search.steps),
    )
    return _caused(error, search, missing)


def qualifier(search: Search, before: Agents) -> AgentResolutionError:
    """What stands before the colon is no plugin or framework with agents."""
    del before
    given = search.request.qualifier or ""
    known = _plugin(search, given)
    if known is not None:
        if not known.loaded:
            return _not_loaded(search, known)
        return AgentPluginNotFound(
            f"plugin {known.label} is loaded, but has no agents. Agents: {_available(search)}",
            steps=tuple(search.steps),
        )
    places = sorted(
        {agent.record.name for agent in search.all} | {agent.spec.framework for agent in search.all}
    )
    canonical, framework = hints.canonical(given), hints.framework_name(given)
    dist = hints.distribution_of_framework(framework)
    if dist is None and canonical in _backends():
        dist = canonical
    install = f" Install: {hints.install_command(dist)}" if dist and not _installed(search, dist) else ""
    meant = "" if install else hints.did_you_mean(given, places)
    return AgentPluginNotFound(
        message(
            f"no loaded plugin or framework is called {given!r}.{meant} Loaded: {', '.join(places)}.{install}",
            *notes(search.registry.records, first=[dist] if dist else []),
        ),
        suggestions=hints.close_to(given, places),
        steps=tuple(search.steps),
    )


def no_neuroevo(search: Search, before: Agents) -> AgentResolutionError:
    """neuroevo=True, and no loaded agent grows its network."""
    del before
    dists = [dist for dist in hints.known_plugins()["neuroevo"] if not _installed(search, dist)]
    return AgentResolutionError(
        message(
            "no neuro-evolution agent is loaded."
            + (f" Install: {hints.install_command(dists[0])}" if dists else ""),
            *notes(search.registry.records, first=hints.known_plugins()["neuroevo"]),
        ),
        code="E-NO-BACKEND",
        suggestions=tuple(dists),
        steps=tuple(search.steps),
    )


def only_neuroevo(search: Search, before: Agents) -> AgentResolutionError:
    """Only neuro-evolution agents are loaded and they were not asked for."""
    names = qualified_names(before)
    return AgentResolutionError(
        message(
            f"the only agents loaded are neuro-evolution agents: {listed(names)}. Pass neuroevo=True to use one.",
            *notes(search.registry.records),
        ),
        code="E-NO-BACKEND",
        candidates=names,
        steps=tuple(search.steps),
    )


def unknown_name(search: Search, before: Agents) -> AgentResolutionError:
    """No agent answers to the name."""
    name = search.request.name or ""
    records = search.registry.records
    others = [a for a in search.all if a not in before and name.casefold() in _folded(a)]
    known_in = hints.distributions_with(name)
    absent = [dist for dist in known_in if not _installed(search, dist)]
    not_loaded = [r for r in records if r.name in known_in and not r.loaded]
    places = {spelling for agent in search.all for spelling in agent.spec.names}
    close = hints.close_to(name, sorted(places)) if not (absent or others or not_loaded) else ()
    lines: list[str] = []
    whose = f"plugin or framework {search.request.qualifier!r} has" if search.request.qualifier else ""
    head = f"{whose} no agent named {name!r}." if whose else f"no agent named {name!r}."
    meant = f" Did you mean {close[0]}?" if close else ""
    lines.append(f"{head}{meant} Available: {_available(search, before)}")
    if others and search.request.qualifier is None:
        with_flag = listed(qualified_names(others))
        lines.append(f"{with_flag} answers to {name} if you pass neuroevo=True.")
    elif others:
        lines.append(f"Elsewhere: {listed(qualified_names(others))}")
    if absent:
        lines.append(f"{name} is in: {', '.join(known_in)}. Install: {hints.install_command(absent[0])}")
    lines += notes(records, first=known_in)
    error = _kind(search, known_in)(
        message(*lines),
        code="E-UNKNOWN-AGENT",
        candidates=qualified_names(others),
        suggestions=close or tuple(absent),
        steps=tuple(search.steps),
    )
    return _caused(error, search, known_in)


def action_space(search: Search, before: Agents) -> AgentResolutionError:
    """Nobody left can act in the environment's action space."""
    request = search.request
    fitting = tuple(
        agent
        for agent in search.all
        if request.action_space in agent.spec.action_spaces
        and request.observation_space in agent.spec.observation_spaces
    )
    where = request.env_id or "this environment"
    text = request.action_space_text or request.action_space
    names = qualified_names(fitting)
    if not any(request.action_space in agent.spec.action_spaces for agent in search.all):
        wrapper = _WRAPPERS.get(
            request.action_space, "Map the actions to a Box or Discrete space with a wrapper."
        )
        lines = [
            f"no loaded agent can act in a {text.partition('(')[0]} action space; {where} has {text}. {wrapper}"
        ]
    else:
        kinds = _kinds(kind for agent in before for kind in agent.spec.action_spaces)
        who = f"{request.name or 'what is left'} ({listed(qualified_names(before))})"
        lines = [f"{who} acts in {kinds} spaces, but {where} has {text}."]
        if names:
            lines.append(f"Agents that can act there: {listed(names)}")
    return AgentSpaceError(
        message(*lines, *notes(search.registry.records)),
        candidates=names,
        suggestions=names,
        steps=tuple(search.steps),
    )


def observation_space(search: Search, before: Agents) -> AgentResolutionError:
    """Nobody left can read the environment's observations."""
    request = search.request
    where = request.env_id or "this environment"
    text = request.observation_space_text or request.observation_space
    kinds = _kinds(kind for agent in before for kind in agent.spec.observation_spaces)
    others = tuple(
        agent
        for agent in search.all
        if request.observation_space in agent.spec.observation_spaces
        and request.action_space in agent.spec.action_spaces
    )
    wrapper = (
        "Wrap it: gymnasium.wrappers.FlattenObservation(env)."
        if request.observation_space in SPACE_KINDS
        else "Map the observations to a Box with gymnasium.wrappers.TransformObservation."
    )
    return AgentSpaceError(
        message(
            f"{', '.join(qualified_names(before))} reads {kinds} observations, but {where} has {text}. {wrapper}",
            f"Agents that can read them: {listed(qualified_names(others))}" if others else None,
            *notes(search.registry.records),
        ),
        candidates=qualified_names(others),
        suggestions=qualified_names(others),
        steps=tuple(search.steps),
    )


def nothing_left(search: Search, before: Agents) -> AgentResolutionError:
    """``deterministic`` or ``recurrent`` left nobody."""
    request = search.request
    step = search.steps[-1].partition(":")[0]
    names = qualified_names(before)
    others = tuple(
        agent
        for agent in search.all
        if request.action_space in agent.spec.action_spaces
        and request.observation_space in agent.spec.observation_spaces
        and (request.deterministic is None or (agent.spec.policy == "deterministic") == request.deterministic)
        and (request.recurrent is None or ("recurrent" in agent.spec.capabilities) == request.recurrent)
    )
    return AgentResolutionError(
        message(
            f"{step} fits none of the agents that were left: {listed(names)}.",
            f"Agents that fit it here: {listed(qualified_names(others))}"
            if others
            else "No loaded agent fits it here; leave it out.",
            *notes(search.registry.records),
        ),
        code="E-NO-AGENT",
        candidates=qualified_names(others),
        suggestions=qualified_names(others),
        steps=tuple(search.steps),
    )


def framework(search: Search, before: Agents) -> AgentResolutionError:
    """``framework`` has no agent that fits."""
    asked = search.request.framework or ""
    present = sorted({agent.spec.framework for agent in before})
    dist = hints.distribution_of_framework(asked)
    known = (*hints.known_frameworks(), *present)
    meant = "" if asked in known else hints.did_you_mean(asked, known)
    install = ""
    if dist is not None and not _installed(search, dist):
        title = hints.framework_title(asked)
        install = f" {title} agents are in {dist}. Install: {hints.install_command(dist)}"
    return AgentResolutionError(
        message(
            f"framework={asked!r} has no agent that fits; these do: {', '.join(present)}.{meant}{install}",
            *notes(search.registry.records, first=[dist] if dist else []),
        ),
        code="E-NO-AGENT",
        candidates=qualified_names(before),
        suggestions=tuple(present),
        steps=tuple(search.steps),
    )


def missing(
    best: Component[AgentSpec], unmet: Mapping[str, tuple[Unmet, ...]]
) -> Callable[[Search, Agents], MissingDependencyError]:
    """Every agent that fits needs a package that is not installed; speaks of the one that would be taken."""

    def error(search: Search, before: Agents) -> MissingDependencyError:
        import sys

        items = unmet[best.qualified]
        needs = ", ".join(item.requirement for item in items)
        have = ", ".join(item.found or "none" for item in items)
        return MissingDependencyError(
            f"{best.qualified} needs {needs}, which this Python cannot import (found: {have}).\n"
            f"Install: {hints.install_command(*(item.requirement for item in items))}\nPython: {sys.executable}",
            candidates=qualified_names(before),
            suggestions=tuple(item.requirement for item in items),
            steps=tuple(search.steps),
        )

    return error


def only_by_name(search: Search, left: Agents) -> AgentResolutionError:
    """What fits has no default rank: it is taken only when named."""
    names = qualified_names(left)
    return AgentResolutionError(
        f"the agents that fit are taken only when named: {listed(names)}. Name one: make_agent({names[0]!r}, env)",
        code="E-NO-AGENT",
        candidates=names,
        suggestions=names,
        steps=tuple(search.steps),
    )


def ambiguous(search: Search, rivals: Agents) -> AgentResolutionError:
    """Several fit, and nothing decides between them."""
    names = qualified_names(rivals)
    what = search.request.name or f"a {search.request.action_space} action space"
    return AmbiguousAgentError(
        f"{what} fits {len(names)} agents equally: {listed(names)}. Name one: make_agent({names[0]!r}, env)",
        candidates=names,
        suggestions=names,
        steps=tuple(search.steps),
    )


def factory_broken(steps: tuple[str, ...], candidate: str) -> Callable[[str], AgentPluginBroken]:
    """Makes the error for a factory that cannot be imported."""
    return lambda text: AgentPluginBroken(text, candidates=(candidate,), steps=steps)


_WRAPPERS = {
    "tuple": "Try a wrapper that flattens it, for example gymnasium.wrappers.TransformAction from a Box.",
    "dict": "Try a wrapper that flattens it, for example gymnasium.wrappers.TransformAction from a Box.",
    "multi_discrete": "Try a wrapper that numbers the combinations as one Discrete space.",
    "multi_binary": "Try a wrapper that numbers the combinations as one Discrete space.",
}


def _not_loaded(search: Search, record: Record) -> AgentResolutionError:
    given = search.request.qualifier
    head = f"no loaded plugin or framework is called {given!r}."
    if record.state == "disabled":
        return AgentPluginBlocked(f"{head} It is installed but {record.error}.", steps=tuple(search.steps))
    error = AgentPluginBroken(
        f"{head} It is installed but failed: {_sentence(record.error)} Run: optix plugins doctor {record.name}",
        steps=tuple(search.steps),
    )
    error.__cause__ = record.exception
    return error


def _at_fault(search: Search, wanted: Sequence[str]) -> list[Record]:
    """Broken plugins that would have had what was asked for."""
    return [record for record in search.registry.records if record.broken and record.name in wanted]


def _kind(search: Search, wanted: Sequence[str]) -> type[AgentResolutionError]:
    """The class of error: a broken plugin is the reason, or there simply is nothing."""
    return AgentPluginBroken if _at_fault(search, wanted) else AgentResolutionError


def _caused(error: AgentResolutionError, search: Search, wanted: Sequence[str]) -> AgentResolutionError:
    """``error``, with the fault of the broken plugin that would have had what was asked for as its cause."""
    faults = _at_fault(search, wanted)
    if faults:
        error.__cause__ = faults[0].exception
    return error


def _plugin(search: Search, name: str) -> Record | None:
    return search.registry.record(name)


def _installed(search: Search, dist: str) -> bool:
    return any(record.name == dist for record in search.registry.records)


def _backends() -> list[str]:
    """Distributions that are known to have agents."""
    table = hints.known_plugins()
    return sorted({dist for dists in table["algorithms"].values() for dist in dists})


def _available(search: Search, agents: Agents | None = None) -> str:
    return listed(qualified_names(search.all if agents is None else agents))


def _folded(agent: Component[AgentSpec]) -> set[str]:
    return {name.casefold() for name in agent.spec.names}


def _sentence(text: str | None) -> str:
    """A reason with the full stop that it may lack."""
    return text if text and text.endswith(("?", ".", "!")) else f"{text}."


def _kinds(kinds: Iterable[str]) -> str:
    return " or ".join(sorted(set(kinds)))
