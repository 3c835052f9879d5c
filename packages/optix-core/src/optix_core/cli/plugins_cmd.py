"""``optix plugins list | info | doctor | new``: nothing here is harmed by a broken plugin."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from optix_core.cli.flags import FAILED, OK
from optix_core.cli.output import print_json, table
from optix_core.errors import ConfigError, PluginNotFound
from optix_core.plugins.hints import canonical, did_you_mean
from optix_core.plugins.records import Record
from optix_core.plugins.registry import default_registry

HEADER = ("PLUGIN", "VERSION", "API", "STATE", "PROVIDES", "IMPORT", "NOTE")
SCHEMA = 1
"""Version of the JSON documents; grows only when a field changes its meaning or goes."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The four sub-commands."""
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    one = commands.add_parser("list", help="what is installed and whether it works")
    one.add_argument("--no-import", action="store_true", help="read metadata only; import no plugin")
    one.add_argument("--all", action="store_true", help="show disabled plugins as well")
    _formats(one).add_argument(
        "--quiet", action="store_true", help="only the names of distributions that work"
    )
    one = commands.add_parser("info", help="everything about one plugin or component")
    one.add_argument("name", metavar="NAME[:COMPONENT]")
    _formats(one)
    one = commands.add_parser("doctor", help="find out what is wrong, and what to do")
    one.add_argument("name", nargs="?", help="only this plugin")
    one.add_argument(
        "--deep", action="store_true", help="also build every agent and run the conformance checks"
    )
    one.add_argument(
        "--timeout",
        type=float,
        default=30.0,
        metavar="S",
        help="seconds that one plugin may take to import (30)",
    )
    _formats(one)
    one = commands.add_parser("new", help="write a small complete plugin to start from")
    one.add_argument("name", help="name of the distribution, for example optix-hello")
    one.add_argument("--kind", choices=("agent", "tuner", "callback", "pipeline", "mutator"), default="agent")
    one.add_argument("--framework", choices=("numpy", "torch"), default="numpy", help="of an agent (numpy)")
    one.add_argument("--into", default=".", metavar="FOLDER", help="where its folder is made (here)")


def _formats(parser: argparse.ArgumentParser) -> Any:
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    return group


def run(args: argparse.Namespace) -> int:
    """Run the sub-command."""
    return {"list": _list, "info": _info, "doctor": _doctor, "new": _new}[args.command](args)


# --- list -----------------------------------------------------------------------------------------------------------


def _list(args: argparse.Namespace) -> int:
    registry = default_registry()
    records = registry.discover() if args.no_import else registry.records
    broken = [r for r in records if r.broken]
    status = FAILED if registry.switches.strict and broken else OK
    if args.json:
        print_json({**_environment(), "plugins": [record.to_dict() for record in records]})
        return status
    if args.quiet:
        usable = {
            r.dist
            for r in records
            if r.dist is not None and (r.loaded or (args.no_import and r.state == "found"))
        }
        print("\n".join(sorted(usable)))
        return status
    shown = [r for r in records if args.all or r.state != "disabled"]
    print(table(HEADER, [_row(record) for record in shown]))
    print(_counts(records, imported=not args.no_import))
    return status


def _row(record: Record) -> tuple[str, ...]:
    version = f"{record.version or '-'}{' (editable)' if record.editable else ''}"
    took = "-" if record.import_cpu_ms is None else f"{record.import_cpu_ms:.0f} ms"
    note = record.error or "; ".join(record.warnings)
    provides = record.provides_text or "-"
    return record.name, version, record.api or "-", record.state, provides, took, " ".join(note.split())


def _counts(records: tuple[Record, ...], *, imported: bool) -> str:
    broken = sum(r.broken for r in records)
    disabled = sum(r.state == "disabled" for r in records)
    usable = sum(r.loaded for r in records) if imported else sum(r.state == "found" for r in records)
    parts = [f"{usable} {'ok' if imported else 'found'}"]
    parts += [f"{broken} not loaded"] if broken else []
    parts += [f"{disabled} disabled (--all shows it)"] if disabled else []
    return ", ".join(parts) + ("; run: optix plugins doctor" if broken else "")


def _environment() -> dict[str, Any]:
    import platform

    from optix_core._version import __version__
    from optix_core.plugins.records import API_VERSION

    return {"schema": SCHEMA, "core": __version__, "api": API_VERSION, "python": platform.python_version()}


# --- info -----------------------------------------------------------------------------------------------------------


def find_record(name: str) -> Record:
    """The plugin of that name.

    Raises:
        PluginNotFound: There is none; the message names the nearest.
    """
    registry = default_registry()
    _require_known(name, [r.name for r in registry.records])
    record = registry.record(name)
    assert record is not None
    return record


def _require_known(name: str, known: list[str]) -> None:
    if name not in known and canonical(name) not in known:
        meant = did_you_mean(name, known)
        raise PluginNotFound(f"no plugin called {name!r} is installed.{meant} Installed: {', '.join(known)}")


def _info(args: argparse.Namespace) -> int:
    from optix_core.cli import plugins_info

    plugin, _, component = args.name.partition(":")
    record = find_record(plugin)
    specs = plugins_info.specs_called(record, component) if component else record.specs
    if args.json:
        print_json({**_environment(), **plugins_info.as_data(record, specs)})
    else:
        print(plugins_info.as_text(record, specs, whole=not component))
    return OK


# --- doctor and new -------------------------------------------------------------------------------------------------


def _doctor(args: argparse.Namespace) -> int:
    from optix_core.plugins import doctor

    if args.timeout <= 0:
        raise ConfigError(f"--timeout is {args.timeout:g}; it must be above 0", code="E-USAGE")
    registry = default_registry()
    if args.name is not None:
        # by metadata only: a plugin that crashes the process has to be found as well
        _require_known(
            args.name,
            [r.name for r in registry.discover()] + [canonical(m) for m in registry.switches.modules],
        )
    report = doctor.examine(registry, only=args.name, deep=args.deep, timeout=args.timeout)
    if args.json:
        print_json({**_environment(), **report.to_dict()})
    else:
        print(report)
    bad = report.errors or (registry.switches.strict and report.warnings)
    return FAILED if bad else OK


def _new(args: argparse.Namespace) -> int:
    from pathlib import Path

    from optix_core.plugins import scaffold

    folder = scaffold.create(Path(args.into), args.name, kind=args.kind, framework=args.framework)
    print(f"wrote {folder}")
    print(scaffold.next_steps(folder, sys.executable))
    return OK
