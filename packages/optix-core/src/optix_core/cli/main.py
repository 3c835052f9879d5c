"""What happens between typing ``optix ...`` and the verb's own code, and what becomes of its errors."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from optix_core.cli.flags import FAILED, OK, USAGE, Parser, add_flags, merge_flags, take_flags
from optix_core.cli.verbs import VERBS, Verb
from optix_core.errors import (
    ConfigError,
    HyperparamError,
    OptixError,
    SpaceError,
)

WRONG_USAGE = (ConfigError, HyperparamError, SpaceError, LookupError)
"""Errors that the person at the terminal mends by typing something else."""
SIGNALS = 128


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; see :mod:`optix_core.cli`.

    Args:
        argv: Arguments without the program's name; those of the process by default.
    """
    try:
        with _warnings_as_lines():
            status = _dispatch(list(sys.argv[1:] if argv is None else argv))
        out: TextIO | None = sys.stdout
        if out is not None:  # it is None where the shell closed it (>&-)
            out.flush()
        return status
    except BrokenPipeError:
        # Python flushes standard output once more at exit; give it somewhere to go
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SIGNALS + 13
    except KeyboardInterrupt:
        print("optix: interrupted", file=sys.stderr)
        return SIGNALS + 2
    except SystemExit as end:  # argparse ends so after --help and after an error
        if end.code is None or isinstance(end.code, int):
            return end.code or OK
        print(end.code, file=sys.stderr)
        return FAILED


def _dispatch(argv: list[str]) -> int:
    parser = _top_parser()
    top = parser.parse_args(argv)
    if getattr(top, "version", False):
        return _version()
    if top.help or top.verb is None:
        return _help(parser, top, asked=top.help)
    verb = next((v for v in VERBS if v.name == top.verb), None)
    after, rest = take_flags(top.rest) if verb is not None else (argparse.Namespace(), list(top.rest))
    flags = merge_flags(_only_flags(top), after)
    try:
        _configure(flags)
        if verb is None:
            return _plugin_command(top.verb, rest)
        return _run_verb(verb, rest, flags)
    except OptixError as error:
        return _report(error, flags)
    except ExceptionGroup as group:
        ours, others = group.split(OptixError)
        if ours is None or others is not None:
            raise
        return _report_group(ours, flags)


def _top_parser() -> Parser:
    parser = Parser(prog="optix", description="Autonomous reinforcement-learning training.", add_help=False)
    parser.usage = "optix [flags] VERB [arguments]"
    parser.add_argument("-h", "--help", action="store_true", help="show this and end")
    parser.add_argument("--version", action="store_true", help="show versions and end")
    add_flags(parser)
    parser.add_argument("verb", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def _only_flags(top: argparse.Namespace) -> argparse.Namespace:
    return argparse.Namespace(
        **{k: v for k, v in vars(top).items() if k not in {"help", "version", "verb", "rest"}}
    )


def _run_verb(verb: Verb, rest: list[str], flags: argparse.Namespace) -> int:
    module: Any = importlib.import_module(verb.module)
    parser = Parser(prog=f"optix {verb.name}", description=verb.help)
    if verb.json:
        parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    module.add_arguments(parser)
    common = "Flags that every verb accepts, such as --no-plugin and --traceback, are shown by optix --help."
    parser.epilog = "\n\n".join(filter(None, (parser.epilog, common)))
    return int(module.run(merge_flags(flags, parser.read(rest))))


def _plugin_command(name: str, rest: list[str]) -> int:
    """Run a verb that a plugin offers.

    Raises:
        ConfigError: There is no such verb.
    """
    from optix_core.plugins.hints import did_you_mean
    from optix_core.plugins.lookup import check_requires, load_factory
    from optix_core.plugins.registry import default_registry

    registry = default_registry()
    offered = {c.spec.name: c for c in registry.commands()}
    if name not in offered:
        known = [*(v.name for v in VERBS), *offered]
        raise ConfigError(
            f"there is no verb {name!r}.{did_you_mean(name, known)} See: optix --help", code="E-USAGE"
        )
    component = registry.command(name)  # refuses a verb that two plugins offer
    check_requires(component)
    return int(load_factory(component)(rest) or OK)


def _configure(flags: argparse.Namespace) -> None:
    """Put the command line's switches in force; reads no plugin yet."""
    given = (
        flags.plugins is not None or flags.no_plugin or flags.modules or flags.strict or flags.trace_plugins
    )
    if not given:
        return
    from optix_core.plugins.registry import configure

    if flags.modules and "" not in sys.path:
        sys.path.insert(0, "")  # as python -m does: a module of the current folder can be named
    configure(
        plugins=flags.plugins,
        disable=flags.no_plugin,
        modules=flags.modules,
        strict=flags.strict,
        trace=(lambda line: print(f"optix: {line}", file=sys.stderr)) if flags.trace_plugins else None,
    )


def _version() -> int:
    import platform

    from optix_core._version import __version__
    from optix_core.plugins.records import API_VERSION

    print(f"optix-core {__version__} (plugin API {API_VERSION}), Python {platform.python_version()}")
    return OK


def _help(parser: Parser, top: argparse.Namespace, *, asked: bool) -> int:
    """The verbs of core and of plugins; works whatever plugins do."""
    out = sys.stdout if asked else sys.stderr
    rows = [(verb.name, verb.help) for verb in VERBS]
    from_plugins, note = _offered_verbs(merge_flags(_only_flags(top)))
    width = max(len(name) for name, _ in (*rows, *from_plugins)) + 2
    lines = ["verbs:", *(f"  {name:<{width}}{text}" for name, text in rows)]
    if from_plugins:
        lines += ["", "verbs of plugins:", *(f"  {name:<{width}}{text}" for name, text in from_plugins)]
    lines += ["", "More about one: optix VERB --help", *([note] if note else [])]
    parser.epilog = "\n".join(lines)
    parser.print_help(out)
    return OK if asked else USAGE


def _offered_verbs(flags: argparse.Namespace) -> tuple[list[tuple[str, str]], str]:
    """Verbs of plugins, and a line about plugins that did not load."""
    from optix_core.plugins.records import plural
    from optix_core.plugins.registry import default_registry

    try:
        _configure(flags)
        records = default_registry().records
    except OptixError as error:
        return [], f"plugins could not be looked up: {error}"
    specs = [(record, spec) for record in records for spec in record.specs if spec.kind == "command"]
    rows = sorted((spec.name, f"{spec.summary} ({record.name})") for record, spec in specs)
    broken = [record for record in records if record.broken]
    note = (
        f"{len(broken)} {plural('plugin', len(broken))} did not load; run: optix plugins doctor"
        if broken
        else ""
    )
    return rows, note


def _report(error: OptixError, flags: argparse.Namespace) -> int:
    """One clear message on standard error, and the exit status that fits."""
    if flags.traceback:
        import traceback

        traceback.print_exception(error)
    else:
        print(f"optix: {error}", file=sys.stderr)
    return USAGE if isinstance(error, WRONG_USAGE) else FAILED


def _report_group(group: BaseExceptionGroup[OptixError], flags: argparse.Namespace) -> int:
    if flags.traceback:
        import traceback

        traceback.print_exception(group)
        return FAILED
    print(f"optix: {group.message}", file=sys.stderr)
    for error in group.exceptions:
        print(f"  {error}", file=sys.stderr)
    return FAILED


@contextmanager
def _warnings_as_lines() -> Generator[None, None, None]:
    """Show optix's warnings as one line on standard error; others as usual."""
    with warnings.catch_warnings():
        before = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if category.__module__.startswith("optix_core.") and file is None:
                print(f"optix: warning: {message}", file=sys.stderr)
            else:
                before(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        yield


if __name__ == "__main__":
    sys.exit(main())
