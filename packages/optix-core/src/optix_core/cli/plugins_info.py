"""What ``optix plugins info`` says about a plugin and its components."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optix_core.cli.output import table
from optix_core.errors import PluginNotFound
from optix_core.hyperparams import interval
from optix_core.plugins.hints import did_you_mean
from optix_core.plugins.hyper import Hyper
from optix_core.plugins.records import Record
from optix_core.plugins.requirements import unmet
from optix_core.plugins.specs import AgentSpec, ComponentSpec


def specs_called(record: Record, name: str) -> tuple[ComponentSpec, ...]:
    """The components of that name; of different kinds there may be several.

    Raises:
        PluginNotFound: The plugin has none of that name.
    """
    found = tuple(s for s in record.specs if s.name.casefold() == name.casefold())
    if not found:
        known = [s.name for s in record.specs]
        offers = (
            f"It offers: {', '.join(known)}"
            if known
            else f"It offers nothing ({record.error or record.state})."
        )
        raise PluginNotFound(f"{record.name} has no component {name!r}.{did_you_mean(name, known)} {offers}")
    return found


def as_data(record: Record, specs: Sequence[ComponentSpec]) -> dict[str, Any]:
    """The plugin's record with the requirements of each component judged."""
    data = record.to_dict()
    data["specs"] = [
        {
            **s.to_dict(),
            "unmet": [{"requirement": u.requirement, "found": u.found} for u in unmet(s.requires)],
        }
        for s in specs
    ]
    return {"plugin": data}


def as_text(record: Record, specs: Sequence[ComponentSpec], *, whole: bool) -> str:
    """Everything, to be read."""
    parts = [_about(record)] if whole else []
    parts += [_component(record, spec) for spec in specs]
    if whole and record.traceback and record.broken:
        parts.append(record.traceback.rstrip())
    return "\n\n".join(parts)


def _about(record: Record) -> str:
    rows = [
        ("distribution", f"{record.dist or '-'} {record.version or ''}".rstrip()),
        ("from", f"{record.location or '-'}{' (editable)' if record.editable else ''}"),
        ("module", record.target or "-"),
        ("plugin API", record.api or "-"),
        ("state", record.state + (f", in phase {record.phase}" if record.broken else "")),
        ("imports", "-" if record.import_cpu_ms is None else f"in {record.import_cpu_ms:.1f} ms of CPU time"),
        ("offers", record.provides_text or "nothing"),
    ]
    rows += [("error", record.error)] if record.error else []
    rows += [("warning", text) for text in record.warnings]
    return "\n".join([record.name, *(f"  {label:<13}{text}" for label, text in rows)])


def _component(record: Record, spec: ComponentSpec) -> str:
    rows = [("summary", spec.summary or "-"), ("factory", spec.factory)]
    if isinstance(spec, AgentSpec):
        rows += [
            ("algorithm", ", ".join(dict.fromkeys((spec.algorithm, *spec.answers_to)))),
            ("framework", spec.framework),
            ("actions", ", ".join(sorted(spec.action_spaces))),
            ("observations", ", ".join(sorted(spec.observation_spaces))),
            ("policy", f"{spec.policy}, {'on' if spec.on_policy else 'off'}-policy"),
            ("chosen", "only when named" if spec.default_rank is None else f"by rank {spec.default_rank}"),
        ]
    rows += [("can", ", ".join(sorted(spec.capabilities)))] if spec.capabilities else []
    missing = {u.requirement: u.found or "not installed" for u in unmet(spec.requires)}
    rows += [("requires", _requirement(text, missing)) for text in spec.requires]
    lines = [f"{record.name}:{spec.name} ({spec.kind.replace('_', ' ')})"]
    lines += [f"  {label:<13}{text}" for label, text in rows]
    if spec.hyperparams:
        lines += ["", _indented(_hyperparams(spec))]
    if spec.options:
        options = [(o.name, repr(o.default), o.help) for o in spec.options]
        lines += ["", _indented(table(("OPTION", "DEFAULT", "MEANING"), options))]
    return "\n".join(lines)


def _requirement(text: str, missing: dict[str, str]) -> str:
    found = next((have for need, have in missing.items() if text.replace(" ", "").startswith(need)), None)
    return f"{text} ({'met' if found is None else f'NOT met: {found}'})"


def _hyperparams(spec: ComponentSpec) -> str:
    rows = [
        (
            h.name,
            str(h.default),
            interval(h) or "True, False",
            "-" if h.tune is None else f"{h.tune[0]:g} to {h.tune[1]:g}{_scale(h)}",
            h.help,
        )
        for h in spec.hyperparams
    ]
    return table(("HYPERPARAMETER", "DEFAULT", "VALID", "TUNED", "MEANING"), rows)


def _scale(hyper: Hyper) -> str:
    if hyper.log == "complement":
        return " (log of 1 - x)"
    return " (log)" if hyper.log else ""


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
