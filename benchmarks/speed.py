"""Figures of two sides that ran in turns: medians, ranges, ratios of the same round, and whether goals were met.

A document of kind ``speed`` has ``sides`` (``{"optix": {metric: [one value per round]}, "PEER": {...}}``) and ``rows``:
``label``, ``metric`` (``other`` where the peer's is called differently), ``unit``, ``better`` (``"lower"`` or
``"higher"``) and ``goal`` (how many times better, or null).
"""

from __future__ import annotations

import statistics


def rows_of(document):
    """One dict of figures per row of ``document``."""
    peer = next(side for side in document["sides"] if side != "optix")
    found = []
    for row in document["rows"]:
        ours = document["sides"]["optix"][row["metric"]]
        theirs = document["sides"][peer][row.get("other", row["metric"])]
        pairs = zip(ours, theirs, strict=True)
        ratios = [a / b if row["better"] == "higher" else b / a for a, b in pairs]
        goal = row.get("goal")
        found.append({
            **row,
            "ours": spread(ours),
            "theirs": spread(theirs),
            "ratio": statistics.median(ratios),
            "ratio_low": min(ratios),
            "ratio_high": max(ratios),
            "goal": goal,
            "rounds": len(ratios),
            "met": None if goal is None else statistics.median(ratios) >= goal,
        })  # fmt: skip
    return found


def spread(values):
    """``median (smallest to largest)``, with digits that suit the size."""
    middle = statistics.median(values)
    digits = 0 if middle >= 1000 else 1 if middle >= 10 else 2
    return f"{middle:,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def print_rows(rows):
    """Print a table; returns how many goals were missed."""
    width = max(len(row["label"]) + len(row["unit"]) for row in rows) + 4
    print(f"{'':{width}}{'optix':>30}{'peer':>30}{'ratio':>24}{'goal':>7}")
    for row in rows:
        ratio = f"{row['ratio']:.2f}x ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})"
        goal = "" if row["goal"] is None else f"{row['goal']:g}x"
        missed = "  MISSED" if row["met"] is False else ""
        label = f"{row['label']}, {row['unit']}"
        print(f"{label:{width}}{row['ours']:>30}{row['theirs']:>30}{ratio:>24}{goal:>7}{missed}")
    return sum(row["met"] is False for row in rows)
