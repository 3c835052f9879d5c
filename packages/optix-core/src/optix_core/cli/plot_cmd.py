"""``optix plot RUN ...``: the learning curve of one run, or of several over each other."""

from __future__ import annotations

import argparse
from pathlib import Path

from optix_core.cli.flags import OK
from optix_core.cli.settings import open_run
from optix_core.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The runs and the file."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="directories of runs ('last': the newest)")
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="a .png, .svg or .pdf file; by default learning_curve.png in the run's directory, or "
        "learning_curves.png here for several runs",
    )


def run(args: argparse.Namespace) -> int:
    """Draw."""
    from optix_core.runs.curve import read_curve
    from optix_core.runs.plot import check_plotting, save_plot

    found = [open_run(name) for name in args.runs]
    if args.out is not None:
        out = Path(args.out)
    else:
        out = found[0].path / "learning_curve.png" if len(found) == 1 else Path("learning_curves.png")
    check_plotting(out)
    curves = [read_curve(run.path.name, run.log().read()) for run in found]
    empty = [curve.name for curve in curves if not curve.points]
    if empty:
        raise ConfigError(f"{', '.join(empty)} has no scores yet, so there is no curve to draw")
    save_plot(curves, out)
    if args.json:
        from optix_core.cli.documents import print_document

        marks = {curve.name: len(curve.marks) for curve in curves}
        print_document({"path": str(out), "runs": [str(run.path) for run in found], "marks": marks})
    else:
        print(f"wrote {out}")
    return OK
