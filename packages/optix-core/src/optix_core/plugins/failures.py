"""The errors of choosing a component, each a kind of what a caller may want to catch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from optix_core.errors import (
    AgentResolutionError,
    PluginBlocked,
    PluginBroken,
    PluginConflict,
    PluginNotFound,
    SpaceError,
)
from optix_core.plugins.records import Record

MAX_LINES = 6
"""No message is longer: who reads it has one thing to do next."""
MAX_NOTES = 2


class PluginLoadWarning(UserWarning):
    """An installed plugin could not be loaded; everything else works."""


class PluginSwitchWarning(UserWarning):
    """A switch names a plugin that is not installed."""


class PluginHookWarning(UserWarning):
    """A plugin's hook failed while optix worked; it was left out."""


class AgentSpaceError(AgentResolutionError, SpaceError):
    """No agent that fits the request can act in, or read, the environment's spaces."""

    default_code = "E-SPACE"


class AmbiguousAgentError(AgentResolutionError, PluginConflict):
    """Several agents fit equally."""

    default_code = "E-AMBIGUOUS"


class AgentPluginNotFound(AgentResolutionError, PluginNotFound):
    """The plugin or framework named before the colon is not installed."""

    default_code = "E-PLUGIN-NOT-FOUND"


class AgentPluginBroken(AgentResolutionError, PluginBroken):
    """The plugin that offers the agent is installed but failed."""

    default_code = "E-PLUGIN-BROKEN"


class AgentPluginBlocked(AgentResolutionError, PluginBlocked):
    """The plugin that offers the agent is installed but switched off."""

    default_code = "E-PLUGIN-BLOCKED"


def message(*lines: str | None) -> str:
    """Lines of an error, empty ones left out, at most :data:`MAX_LINES`."""
    kept = [line for line in lines if line]
    return "\n".join(kept[:MAX_LINES])


def listed(names: Sequence[str], limit: int = 12) -> str:
    """Names as an enumeration; long ones are cut with a count."""
    shown = ", ".join(names[:limit])
    return f"{shown} and {len(names) - limit} more (optix components)" if len(names) > limit else shown


def notes(records: Iterable[Record], first: Iterable[str] = ()) -> list[str]:
    """Lines about plugins that did not load, since those are often the true cause.

    Args:
        records: All records.
        first: Names of plugins that would have had what was asked for; these come first, also if they are disabled.
    """
    wanted = set(first)
    relevant = [r for r in records if r.broken or (r.state == "disabled" and r.name in wanted)]
    relevant.sort(key=lambda record: (record.name not in wanted, record.name))
    lines = [
        f"note: plugin {record.label} did not load ({reason(record)})" for record in relevant[:MAX_NOTES]
    ]
    if len(relevant) > MAX_NOTES:
        lines.append(f"note: {len(relevant) - MAX_NOTES} more did not load; run: optix plugins doctor")
    return lines


def reason(record: Record) -> str:
    """Phase and error of a plugin that is not loaded, short."""
    if record.state == "disabled":
        return record.error or "disabled"
    text = record.error or record.state
    return f"{record.phase}: {text if len(text) <= 160 else text[:157] + '...'}"
