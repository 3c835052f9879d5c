"""``optix graph show RUN``: what became of a run's network, and why."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from optix_core.errors import ConfigError


def run(argv: list[str]) -> int:
    """The verb; see ``optix graph --help``."""
    parser = argparse.ArgumentParser(
        prog="optix graph", description="What became of a run's network, and why."
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    show = verbs.add_parser("show", help="tell each change of topology, and draw the graph over time")
    show.add_argument("run", metavar="RUN", help="a run's directory ('last': the newest)")
    show.add_argument(
        "--out",
        metavar="FILE",
        help="an .html file with the whole story, or an .svg file with the newest graph; by default graph.html in the "
        "run's directory",
    )
    show.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    return _show(parser.parse_args(argv))


def _show(args: argparse.Namespace) -> int:
    from optix_core.cli.settings import open_run
    from optix_neuroevo.showing.page import page, picture
    from optix_neuroevo.showing.story import chapters

    found = open_run(args.run)
    story = chapters(found.log().read())
    if not story:
        raise ConfigError(
            f"{found.path} says nothing about topology: its agent has no topology controller "
            "(make_agent(..., neuroevo=True) brings one along)"
        )
    out = found.path / "graph.html" if args.out is None else Path(args.out)
    if out.suffix not in {".html", ".svg"}:
        raise ConfigError(f"--out is {out}; it ends in .html or .svg", code="E-USAGE")
    draw = page if out.suffix == ".html" else picture
    out.write_text(draw(story, title=found.path.name), encoding="utf-8")
    if args.json:
        rows = [
            {
                "action": c.action, "window": c.window, "step": c.step, "sentences": list(c.sentences),
                "new": list(c.new), "refused": c.refused, "n_neurons": c.n_neurons, "n_edges": c.n_edges,
            }
            for c in story
        ]  # fmt: skip
        print(json.dumps({"schema": 1, "path": str(out), "chapters": rows}))
        return 0
    for c in story:
        print(f"window {c.window:5d}  {c.action:9s} {c.n_neurons} neurons, {c.n_edges} edges")
        for text in c.sentences:
            print(f"    {text}")
    print(f"wrote {out}")
    return 0
