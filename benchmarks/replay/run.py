"""What do storing, drawing and prioritising cost, beside Stable-Baselines3 and tensor-optix in the same run?

# needs-peers

    python3 dev.py bench replay              # prints two tables, writes two files benchmarks/results/replay-*.json
    python3 dev.py bench replay --rounds 5

Every round runs one process of each side, one after the other, on one thread. What counts is CPU time of the process,
the best of several repetitions; reported are medians over rounds with their range, and ratios of the same round. Rows
are as wide as HalfCheetah's (17 observations, 6 actions, float32), batches hold 256.

a  a uniform batch at 400,000 rows. Beside Stable-Baselines3 as tensors of torch on both sides, beside tensor-optix as
   arrays on both
b  adding one row
c  memory of 400,000 rows (growth of the largest resident set while they are added), and of 20,000 rows of 84x84 bytes
d  push one row, draw 256 by priority, update their priorities: with 10,000 and with 1,000,000 rows stored. The sum tree
   of tensor-optix is filled from outside, because its own pushing of a million rows takes half an hour

Exits with 1 if a goal is missed, or if d costs optix more than twice as much at a million rows as at ten thousand.
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

FLAT = 2.0

PEERS = {
    "sb3": (
        "Stable-Baselines3",
        "sb3.py",
        [
            ("a  uniform batch, tensors", "sample_tensors_us", "us", 3.0),
            ("b  add", "add_us", "us", None),
            ("c  memory of 400,000 rows", "rows_mib", "MiB", 0.98),  # no higher, up to what a process varies
            ("c  memory of 20,000 images", "images_mib", "MiB", 0.98),
        ],
    ),
    "tensor-optix": (
        "tensor-optix",
        "reference.py",
        [
            ("a  uniform batch, arrays", "sample_us", "us", 100.0),
            ("b  add", "add_us", "us", None),
            ("c  memory of 400,000 rows", "rows_mib", "MiB", None),
            ("d  prioritised, 10,000 rows", "cycle_10000_us", "us", None),
            ("d  prioritised, 1,000,000 rows", "cycle_1000000_us", "us", 10.0),
        ],
    ),
}


def main():
    parser = argparse.ArgumentParser(description="replay beside Stable-Baselines3 and tensor-optix")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", default=",".join(PEERS), help="only these")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    options = parser.parse_args()
    peers_python = os.environ.get("OPTIX_PEERS_PYTHON")
    if not peers_python:
        raise SystemExit("OPTIX_PEERS_PYTHON is not set; run this through: python3 dev.py bench replay")
    chosen = {name: PEERS[name] for name in options.peers.split(",")}
    figures, about = {}, {}
    for i in range(options.rounds):
        sides = [("optix", sys.executable, "ours.py")]
        sides += [(name, peers_python, script) for name, (_, script, _) in chosen.items()]
        for side, python, script in sides:
            found = child(python, HERE / script)
            about[side], machine = found.pop("versions"), found.pop("machine")
            for metric, value in found.items():
                figures.setdefault(side, {}).setdefault(metric, []).append(value)
        print(f"round {i + 1} of {options.rounds} done", file=sys.stderr, flush=True)
    missed = 0
    for name, (title, _, rows) in chosen.items():
        wanted = [row[1] for row in rows]
        document = {
            "kind": "speed",
            "name": f"replay-{name}",
            "title": f"Replay beside {title}",
            "peer": title,
            "command": f"python3 dev.py bench replay --rounds {options.rounds}",
            "machine": machine,
            "versions": {side: about[side] for side in ("optix", name)},
            "sides": {side: {m: figures[side][m] for m in wanted} for side in ("optix", name)},
            "rows": [
                {"label": label, "metric": metric, "unit": unit, "better": "lower", "goal": goal}
                for label, metric, unit, goal in rows
            ],
        }
        write_json(options.out / f"replay-{name}.json", document)
        print(f"\n{title}")
        missed += print_rows(rows_of(document))
    ours = figures["optix"]
    growth = statistics.median(
        big / small for big, small in zip(ours["cycle_1000000_us"], ours["cycle_10000_us"], strict=True)
    )
    print(
        f"\nd of optix costs {growth:.2f} times as much at a million rows as at ten thousand (at most {FLAT:g})"
    )
    n_step, made, loaded = (
        statistics.median(ours[name]) for name in ("sample_3_steps_us", "state_ms", "load_ms")
    )
    print(
        f"batch over 3 steps of optix at 400,000 rows: {n_step:.0f} us; state of a million rows where one segment of "
        f"62 changed: {made:.1f} ms, loading it back {loaded:.1f} ms"
    )
    return 1 if missed or growth > FLAT else 0


if __name__ == "__main__":
    sys.exit(main())
