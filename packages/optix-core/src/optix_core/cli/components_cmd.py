"""``optix components``: every name that can be used, who offers it, and what it is."""

from __future__ import annotations

import argparse

from optix_core.cli.flags import OK
from optix_core.cli.output import print_json, table
from optix_core.errors import ConfigError
from optix_core.plugins.hints import did_you_mean, framework_name
from optix_core.plugins.lookup import kind_name
from optix_core.plugins.records import Component
from optix_core.plugins.registry import default_registry
from optix_core.plugins.specs import SPACE_KINDS, SPEC_TYPES, AgentSpec, ComponentSpec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A kind, and filters for agents."""
    parser.add_argument("kind", nargs="?", help=f"one kind only: {', '.join(SPEC_TYPES)}")
    parser.add_argument(
        "--space", metavar="KIND", help="agents that act in this kind of space, for example box"
    )
    parser.add_argument("--framework", metavar="NAME", help="agents of this framework, for example torch")


def run(args: argparse.Namespace) -> int:
    """Print the list."""
    kind = None if args.kind is None else _kind(args.kind)
    if args.space is not None and args.space not in SPACE_KINDS:
        meant = did_you_mean(args.space, SPACE_KINDS)
        raise ConfigError(
            f"--space is {args.space!r}.{meant} Kinds: {', '.join(SPACE_KINDS)}", code="E-USAGE"
        )
    if (args.space or args.framework) and kind not in {None, "agent"}:
        raise ConfigError(f"--space and --framework are about agents, not about a {kind}", code="E-USAGE")
    framework = None if args.framework is None else framework_name(args.framework)
    found = [c for c in default_registry().components(kind) if _fits(c.spec, args.space, framework)]
    if args.json:
        rows = [{"plugin": c.record.name, "qualified": c.qualified, **c.spec.to_dict()} for c in found]
        print_json({"schema": 1, "components": rows})
        return OK
    if not found:
        print("no component fits; see: optix plugins list")
        return OK
    order = list(SPEC_TYPES)
    found.sort(key=lambda c: order.index(c.spec.kind))
    print(table(("KIND", "NAME", "PLUGIN", "SUMMARY"), [_row(c) for c in found]))
    return OK


def _kind(text: str) -> str:
    from optix_core.errors import PluginError

    try:
        return kind_name(text)
    except PluginError as error:
        raise ConfigError(error.message, code="E-USAGE") from None


def _fits(spec: ComponentSpec, space: str | None, framework: str | None) -> bool:
    if space is None and framework is None:
        return True
    if not isinstance(spec, AgentSpec):
        return False
    return (space is None or space in spec.action_spaces) and framework in {None, spec.framework}


def _row(component: Component[ComponentSpec]) -> tuple[str, ...]:
    spec = component.spec
    text = spec.summary
    if isinstance(spec, AgentSpec):
        spaces = ", ".join(sorted(spec.action_spaces))
        text = f"{text} ({spec.framework}; {spaces})" if text else f"{spec.framework}; {spaces}"
    return spec.kind.replace("_", " "), spec.name, component.record.name, text
