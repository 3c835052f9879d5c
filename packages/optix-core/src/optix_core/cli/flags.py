"""Flags that every verb accepts, before or after it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

OK, FAILED, USAGE = 0, 1, 2
"""Exit statuses; see :mod:`optix_core.cli`."""


class Parser(argparse.ArgumentParser):
    """A parser without abbreviations: ``--no-plug`` is a mistake, not ``--no-plugin``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs |= {"allow_abbrev": False, "conflict_handler": "resolve"}
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **kwargs)
        self._has_commands = False

    def add_subparsers(self, **kwargs: Any) -> Any:
        """As in argparse."""
        self._has_commands = True
        return super().add_subparsers(**kwargs)

    def read(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse ``argv``; options may stand between values, as in ``train ENV --seed 0 gamma=0.9``."""
        return self.parse_args(argv) if self._has_commands else self.parse_intermixed_args(argv)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags; each is absent from the namespace unless given, so that two parsings can be put together."""
    group = parser.add_argument_group("flags that every verb accepts")
    absent = argparse.SUPPRESS
    group.add_argument(
        "--plugins", metavar="A,B", default=absent, help="load only these installed plugins; '' loads none"
    )
    group.add_argument(
        "--no-plugin", metavar="NAME", action="append", default=absent, help="do not load this plugin"
    )
    group.add_argument(
        "-p",
        metavar="MODULE",
        dest="modules",
        action="append",
        default=absent,
        help="load this module as a plugin",
    )
    group.add_argument(
        "--strict", action="store_true", default=absent, help="a plugin that does not load is an error"
    )
    group.add_argument(
        "--trace-plugins",
        action="store_true",
        default=absent,
        help="say how plugins are found, on standard error",
    )
    group.add_argument(
        "--traceback", action="store_true", default=absent, help="show where an error came from"
    )


def merge_flags(*parsed: argparse.Namespace) -> argparse.Namespace:
    """One namespace with every flag: lists are joined, otherwise later ones win, what nobody gave has its default."""
    merged = argparse.Namespace(
        plugins=None, no_plugin=[], modules=[], strict=None, trace_plugins=False, traceback=False
    )
    for namespace in parsed:
        for name, value in vars(namespace).items():
            if isinstance(value, list) and isinstance(before := getattr(merged, name, None), list):
                setattr(merged, name, [*before, *value])
            else:
                setattr(merged, name, value)
    return merged


def take_flags(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The flags among ``argv``, wherever they stand before a ``--``, and the rest in order."""
    parser = Parser(prog="optix", add_help=False)
    add_flags(parser)
    end = list(argv).index("--") if "--" in argv else len(argv)
    found, rest = parser.parse_known_args(argv[:end])
    return found, [*rest, *argv[end:]]
