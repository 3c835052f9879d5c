"""What does a step of a neuron graph cost, acting and learning, beside tensor-optix, neat-python and torch.nn.GRU?

# needs-peers

    python3 dev.py bench graph               # prints tables, writes files benchmarks/results/graph-*.json
    python3 dev.py bench graph --rounds 5

Every round runs one process of each side, one after the other, on one thread. What counts is CPU time of the process;
reported are medians over rounds with their range, and ratios of the same round. The graphs are the same edge by edge:
4/8/3, 16/64/8 and 32/256/8 neurons, dense between layers, and every hidden neuron reads itself and a neighbour one
step later.

act      one step of one environment
learn    forward and backward through 512 steps, per environment step: tanh neurons, and trainable gated ones. The
         learning pass of tensor-optix knows no delays, so it is measured without these edges
many     64 environments, per step of one
compile  making the plan of a random graph of 1,000 and of 20,000 edges

Exits with 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from common import RESULTS, child, write_json
from speed import print_rows, rows_of

SIZES = ("4_8_3", "16_64_8", "32_256_8")
ACT = {"tensor-optix": (200, 1_000, 5_000), "neat-python": (2, 10, 50)}
COMPILE_MS = {1_000: 10.0, 20_000: 100.0}
MANY = 10.0


def plain(size):
    return size.replace("_", "/")


def row(label, metric, goal, *, other=None):
    return {
        "label": label, "metric": metric, "other": other or metric, "unit": "us", "better": "lower", "goal": goal,
    }  # fmt: skip


def tables():
    """Name, title, side and rows of each comparison."""
    reference = [
        row(f"act {plain(s)}", f"act_{s}_us", g) for s, g in zip(SIZES, ACT["tensor-optix"], strict=True)
    ]
    reference += [
        row(f"learn {plain(s)}, {kind}", f"learn_{neuron}_1_{s}_us", 500, other=f"learn_{neuron}_{s}_us")
        for neuron, kind in (("point", "tanh"), ("trainable_gru", "gated"))
        for s in SIZES
    ]
    neat = [row(f"act {plain(s)}", f"act_{s}_us", g) for s, g in zip(SIZES, ACT["neat-python"], strict=True)]
    gru = [
        row(
            f"learn {plain(s)}, {kind}, {n} environment{'s' if n > 1 else ''}",
            f"learn_{neuron}_{n}_{s}_us",
            0.67 if n == 1 else None,  # at most 1.5 times the cost
            other=f"torch_gru_{n}_{s}_us",
        )
        for s in SIZES
        for neuron, kind in (("point", "tanh"), ("trainable_gru", "gated"))
        for n in (1, 64)
    ]
    return [
        ("tensor-optix", "tensor-optix", reference),
        ("neat-python", "neat-python", neat),
        ("torch", "torch.nn.GRU", gru),
    ]


def inside(ours):
    """What is judged without a peer; returns how many goals were missed."""
    missed = 0
    for s in SIZES:
        for what, one, many, goal in (
            ("act", f"step_1_{s}_us", f"step_64_{s}_us", MANY),
            ("learn", f"learn_point_1_{s}_us", f"learn_point_64_{s}_us", None),
        ):
            ratio = statistics.median(a / b for a, b in zip(ours[one], ours[many], strict=True))
            bad = goal is not None and ratio < goal
            missed += bad
            cost = statistics.median(ours[many])
            print(f"64 environments, {what} {plain(s)}: {cost:.2f} us per step of one, {ratio:.1f} times cheaper than "
                  f"one alone{'  MISSED' if bad else ''}")  # fmt: skip
    for n, limit in COMPILE_MS.items():
        cost = statistics.median(ours[f"compile_{n}_ms"])
        levels = ours[f"levels_{n}"][0]
        missed += cost > limit
        print(f"compile {n:,} edges in {levels:.0f} levels: {cost:.1f} ms (at most {limit:g})"
              f"{'  MISSED' if cost > limit else ''}")  # fmt: skip
    return missed


def main():
    parser = argparse.ArgumentParser(
        description="neuron graphs beside tensor-optix, neat-python and torch.nn.GRU"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    options = parser.parse_args()
    peers_python = os.environ.get("OPTIX_PEERS_PYTHON")
    if not peers_python:
        raise SystemExit("OPTIX_PEERS_PYTHON is not set; run this through: python3 dev.py bench graph")
    figures, about = {}, {}
    for i in range(options.rounds):
        for side, python, script in (
            ("optix", sys.executable, "ours.py"),
            ("tensor-optix", peers_python, "reference.py"),
            ("neat-python", peers_python, "neat_side.py"),
        ):
            found = child(python, HERE / script)
            about[side], machine = found.pop("versions"), found.pop("machine")
            for metric, value in found.items():
                figures.setdefault(side, {}).setdefault(metric, []).append(value)
        print(f"round {i + 1} of {options.rounds} done", file=sys.stderr, flush=True)
    figures["torch"], about["torch"] = figures["optix"], {"torch": about["optix"]["torch"]}
    missed = 0
    for name, title, rows in tables():
        document = {
            "kind": "speed",
            "name": f"graph-{name}",
            "title": f"Neuron graphs beside {title}",
            "peer": title,
            "command": f"python3 dev.py bench graph --rounds {options.rounds}",
            "machine": machine,
            "versions": {side: about[side] for side in ("optix", name)},
            "sides": {
                "optix": {r["metric"]: figures["optix"][r["metric"]] for r in rows},
                name: {r["other"]: figures[name][r["other"]] for r in rows},
            },
            "rows": rows,
        }
        write_json(options.out / f"graph-{name}.json", document)
        print(f"\n{title}")
        missed += print_rows(rows_of(document))
    print()
    missed += inside(figures["optix"])
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
