"""``optix log export RUN --to FORMAT``: a run's curves for other programs."""

from __future__ import annotations

import argparse
from pathlib import Path

from optix_core.cli.flags import OK
from optix_core.cli.settings import open_run

FORMATS = ("tensorboard", "csv")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``export``."""
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    export = commands.add_parser("export", help="write the curves of a run for another program")
    export.add_argument("run", metavar="RUN", help="directory of the run ('last': the newest)")
    export.add_argument("--to", required=True, choices=FORMATS, help="event files, or a table of points")
    export.add_argument(
        "--out",
        metavar="DIR",
        help="folder to write to; the run's directory (csv), or tensorboard inside it, by default",
    )
    export.add_argument("--json", action="store_true", help="print one JSON document instead of text")


def run(args: argparse.Namespace) -> int:
    """Export."""
    from optix_core.runs.scalar_export import EXPORTERS

    found = open_run(args.run)
    written = EXPORTERS[args.to](found, None if args.out is None else Path(args.out))
    if args.json:
        from optix_core.cli.documents import print_document

        print_document(
            {
                "run_dir": str(found.path),
                "format": args.to,
                "path": str(written.path),
                "points": written.points,
                "tags": written.tags,
            }
        )
    else:
        print(f"wrote {written.points:,} points of {written.tags} curves to {written.path}")
    return OK
