"""``optix presets``: settings that are known to work, and where their numbers come from."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from optix_core.cli.flags import OK
from optix_core.cli.output import print_json, table
from optix_core.errors import ConfigError

if TYPE_CHECKING:
    from optix_core.presets.preset import Preset

SCHEMA = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``list`` and ``show``."""
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    many = commands.add_parser("list", help="every preset in one line")
    many.add_argument("--env", metavar="ID", help="only those for this environment")
    one = commands.add_parser("show", help="one preset: what it sets, its source and what was changed")
    one.add_argument("name", metavar="NAME", help="for example cartpole/ppo")
    one.add_argument("--toml", action="store_true", help="print it as a configuration file")
    for command in (many, one):
        command.add_argument("--json", action="store_true", help="print one JSON document instead of text")


def run(args: argparse.Namespace) -> int:
    """Print."""
    from optix_core.presets.catalogue import all_presets, find_preset, presets_for

    if args.command == "list":
        return _list(all_presets() if args.env is None else presets_for(args.env), args)
    preset = find_preset(args.name)
    if args.json and args.toml:
        raise ConfigError("--json and --toml are two forms of one answer; give one of them", code="E-USAGE")
    if args.json:
        print_json({"schema": SCHEMA, **preset.to_dict()})
    else:
        print(as_toml(preset) if args.toml else "\n".join(_lines(preset)))
    return OK


def _list(presets: tuple[Preset, ...], args: argparse.Namespace) -> int:
    if args.json:
        print_json({"schema": SCHEMA, "presets": [preset.to_dict() for preset in presets]})
        return OK
    if not presets:
        print(f"no preset is for {args.env}; all of them: optix presets list")
        return OK
    rows = [
        (p.name, ", ".join(p.environments), p.algorithm, f"{p.max_steps:,}", _agent(p), p.source.name)
        for p in presets
    ]
    print(table(("NAME", "ENVIRONMENT", "AGENT", "STEPS", "INSTALLED", "SOURCE"), rows))
    return OK


def _agent(preset: Preset) -> str:
    """Whether its agent is here."""
    from optix_core.presets.catalogue import agent_names

    return "yes" if agent_names(preset) else "no"


def _lines(p: Preset) -> list[str]:
    lines = [f"{p.name}: {p.summary}", f"for       {', '.join(p.environments)}"]
    if p.environment_note:
        lines.append(f"          {p.environment_note}")
    if p.requires:
        lines.append(f"needs     optix-core[{','.join(p.requires)}]")
    lines.append(f"source    {p.source}")
    lines += [f"changed   {text}" for text in p.source.changed]
    if p.published is not None:
        spread = "" if p.published.spread is None else f" +- {p.published.spread:g}"
        lines += [
            f"published {p.published.score:g}{spread} after {p.published.steps:,} steps, before our changes",
            f"          {p.published.how}; {p.published.by}",
        ]
    lines += ["", *table(("setting", "value"), list(_flat(p.settings()))).splitlines()]
    env = p.environments[0]
    lines += ["", f"use it    optix train {env} --preset {p.name}"]
    return lines


def _flat(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    from optix_core.config.provenance import leaves

    return [(name, "chosen by the loop" if v is None else _toml(v)) for name, v in leaves(settings)]


def as_toml(preset: Preset) -> str:
    """The preset's settings as a configuration file, with its source as comments."""
    tables: list[str] = []
    top = [f"# {preset.name}: {preset.source}", *(f"# changed: {text}" for text in preset.source.changed)]
    top.append(f"env = {_toml(preset.environments[0])}")
    for name, value in preset.settings().items():
        if isinstance(value, Mapping):
            items = cast("Mapping[str, Any]", value).items()
            rows = [f"{key} = {_toml(item)}" for key, item in items]
            tables += ["", f"[{name}]", *rows]
        elif value is not None:
            top.append(f"{name} = {_toml(value)}")
    return "\n".join([*top, *tables])


def _toml(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(value, bool | str):
        return json.dumps(value)
    return repr(value)
