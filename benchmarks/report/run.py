"""Write the results that lie in benchmarks/results into docs/benchmarks.md, autonomy.md and distributed.md.

    python3 dev.py bench report              # write
    python3 dev.py bench report --check      # exit 1 if a page does not say what the results say

What is between ``<!-- results: NAME -->`` and ``<!-- end of results -->`` is made anew; the rest of a page is prose.
NAME is ``learning``, ``autonomy-PROTOCOL``, ``distributed-learning``, or that of a file benchmarks/results/NAME.json of
kind ``speed`` (see benchmarks/speed.py).
Results that do not exist are said not to exist.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from autonomy.run import results_of
from autonomy.verdicts import VERDICTS
from common import RESULTS, ROOT
from distributed import learned
from learning.run import SIDES, job_of, stored, summary
from learning.tasks import EPISODES, TASKS
from speed import rows_of

PAGES = tuple(ROOT / "docs" / f"{name}.md" for name in ("benchmarks", "autonomy", "distributed"))
BLOCK = re.compile(r"<!-- results: ([\w-]+) -->\n(.*?)<!-- end of results -->", re.DOTALL)


def learning(folder):
    """The table of learning, from the stored results that were made with today's presets."""
    rows, everything = [], []
    for task in TASKS:
        try:
            jobs = {seed: job_of(task, seed) for seed in range(100)}
        except ValueError:
            jobs = {}  # its preset does not exist (any more)
        results = {
            side: [
                r for seed, job in jobs.items() if (r := stored(folder, task, side, seed, job)) is not None
            ]
            for side in SIDES
        }
        everything += [result for found in results.values() for result in found]
        row = summary(task, results)
        ours, theirs = row["sides"].get("optix"), row["sides"].get("sb3")
        rows.append((
            f"`{task.name}`",
            f"{task.budget:,}",
            f"{'below' if task.below else 'at least'} {task.level:g}",
            _score(ours),
            _score(theirs),
            _yes(row.get("level_met")),
            "control" if task.below else _yes(row.get("not_below_peer")),
            _cpu(ours, theirs),
        ))  # fmt: skip
    if not everything:
        return "Not run yet.\n"
    head = (
        "task",
        "steps",
        "expected",
        "optix",
        "peer",
        "reached",
        "not below the peer",
        "CPU-seconds, optix / peer",
    )
    notes = [
        f"- `{task.name}`: {task.peer} as the peer; {task.peer_note}." for task in TASKS if task.peer_note
    ]
    text = table(head, rows) + "\n" + about([(r["machine"], {r["side"]: r["versions"]}) for r in everything])
    intro = (
        f"Interquartile mean over seeds of the mean return of {EPISODES} fresh greedy episodes, with its 95 % "
        "interval, the number of seeds (n) and the worst seed.\n\n"
    )
    return intro + text + ("\n" + "\n".join(notes) + "\n" if notes else "")


def speed(path):
    """The table of one document of kind ``speed``."""
    if not path.exists():
        return "Not run yet.\n"
    document = json.loads(path.read_text(encoding="utf-8"))
    found = rows_of(document)
    rows = [
        (
            f"{row['label']}, {row['unit']}",
            row["ours"],
            row["theirs"],
            f"{row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})",
            "" if row["goal"] is None else f"{row['goal']:g}",
            _yes(row["met"]) if row["met"] is not None else "",
        )
        for row in found
    ]
    head = ("", "optix", document["peer"], "times better", "goal", "met")
    rounds = max(row["rounds"] for row in found)
    intro = f"`{document['command']}`: median over {rounds} rounds (smallest to largest).\n\n"
    return intro + table(head, rows) + "\n" + about([(document["machine"], document["versions"])])


def autonomy(protocol, folder):
    """The table and the bounds of one protocol."""
    results = results_of(protocol, folder)
    text = VERDICTS[protocol](results).text()
    return text + (
        "\n" + about([(r["machine"], {"optix": r["versions"]}) for _, r in results]) if results else ""
    )


def on_actors(folder):
    """The table of learning on actors."""
    found = learned.rows(folder)
    rows = [
        (
            row["title"],
            row["mode"],
            f"{row['steps']:,}",
            f"{row['before']:.0f}",
            f"{row['score']:.1f} [{row['low']:.1f}, {row['high']:.1f}] (n={row['n']}, worst {row['worst']:.1f})",
            f"{row['level']:g}: {_yes(row['every_seed'])}",
            _yes(row["not_worse"]) if "not_worse" in row else "",
            f"{row['lag']:.2f}",
        )
        for row in found
    ]
    head = ("", "", "steps", "before", "after", "every seed at least", "95 % of one process", "mean lag")
    return table(head, rows) + "\n" + about([row["origin"] for row in found]) if found else "Not run yet.\n"


def table(head, rows):
    cells = [head, ("---",) * len(head), *rows]
    return "".join("| " + " | ".join(str(c).replace("|", "\\|") for c in row) + " |\n" for row in cells)


def about(origins):
    """One line per machine: what it is, and the versions of each side."""
    lines = []
    for machine, versions in origins:
        for side, found in versions.items():
            packages = ", ".join(f"{name} {version}" for name, version in found.items())
            memory = "" if machine["memory_gib"] is None else f", {machine['memory_gib']:g} GiB"
            lines.append(
                f"{side} on {machine['processor']}, {machine['cores']} cores{memory}, {machine['system']}: {packages}."
            )
    return "".join(f"- {line}\n" for line in dict.fromkeys(lines))


def page_with_results(text, folder=RESULTS):
    """``text`` with every block of results made anew."""

    def block(match):
        name = match[1]
        if name == "learning":
            body = learning(folder / "learning")
        elif name == "distributed-learning":
            body = on_actors(folder / name)
        elif name.startswith("autonomy-"):
            body = autonomy(name.removeprefix("autonomy-"), folder / "autonomy")
        else:
            body = speed(folder / f"{name}.json")
        return f"<!-- results: {name} -->\n{body}<!-- end of results -->"

    return BLOCK.sub(block, text)


def _score(side):
    if side is None:
        return "not run"
    return f"{side['score']:.1f} [{side['low']:.1f}, {side['high']:.1f}] (n={side['seeds']}, worst {side['worst']:.1f})"


def _cpu(ours, theirs):
    return " / ".join("-" if side is None else f"{side['cpu_seconds']:.0f}" for side in (ours, theirs))


def _yes(value):
    return "open" if value is None else "yes" if value else "**no**"


def main():
    parser = argparse.ArgumentParser(description="write the tables of docs from benchmarks/results")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is out of date")
    options = parser.parse_args()
    late = 0
    for page in PAGES:
        old = page.read_text(encoding="utf-8")
        new = page_with_results(old)
        if old == new:
            continue
        if options.check:
            print(f"{page.relative_to(ROOT)} is out of date: python3 dev.py bench report", file=sys.stderr)
            late = 1
            continue
        page.write_text(new, encoding="utf-8")
        print(f"wrote {page.relative_to(ROOT)}")
    return late


if __name__ == "__main__":
    sys.exit(main())
