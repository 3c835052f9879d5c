"""How fast does PPO act, update and train, beside Stable-Baselines3 in the same run?

# needs-peers

    python3 dev.py bench ppo            # prints a table, writes benchmarks/results/ppo.json
    python3 dev.py bench ppo --rounds 5

Every round runs one process of each side, one after the other, on one thread. What counts is CPU time of the process
(``time.process_time``), because it hardly depends on what else runs. Within a process, acting and the update are the
best of several repetitions; reported are the median over rounds and its range, and the same of each round's ratio.

Both sides: CartPole-v1, 2048 steps per update in all, 10 epochs, minibatch 64, separate 64x64 tanh networks, learning
rate 3e-4, gamma 0.99, lambda 0.95, clip 0.2, entropy coefficient 0, gradient norm 0.5.

a  end to end: environment steps per CPU second, 1 and 8 environments (collecting and learning; no validation)
b  acting: one complete decision for one observation, as each side's rollout makes it
c  the update alone: one window of 2048 samples, 320 gradient steps
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from common import RESULTS, ChildFailed, child, write_json
from speed import print_rows, rows_of

ROWS = [
    ("train, 1 environment", "train_1", "train_1", "steps per CPU-second", 4.0),
    ("train, 8 environments", "train_8", "train_8", "steps per CPU-second", 4.0),
    ("act, 1 observation", "act_1", "act_1", "us", 20.0),
    ("act, 8 observations", "act_8", "act_8", "us", None),
    ("update, closed form", "update_closed_form", "update", "ms", 5.0),
    ("update, autograd", "update_autograd", "update", "ms", 2.5),
    ("peak memory", "peak_memory_mib", "peak_memory_mib", "MiB", 0.98),  # no higher: what loading varies
]


def main() -> int:
    parser = argparse.ArgumentParser(description="PPO beside Stable-Baselines3")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS / "ppo.json")
    options = parser.parse_args()
    peers = os.environ.get("OPTIX_PEERS_PYTHON")
    if not peers:
        raise SystemExit("OPTIX_PEERS_PYTHON is not set; run this through: python3 dev.py bench ppo")
    sides: dict[str, dict[str, list[float]]] = {"optix": {}, "sb3": {}}
    versions, machine = {}, None
    for i in range(options.rounds):
        for side, python, script in (("optix", sys.executable, "ours.py"), ("sb3", peers, "sb3.py")):
            try:
                figures = child(python, HERE / script)
            except ChildFailed as error:
                raise SystemExit(str(error)) from None
            versions[side], machine = figures.pop("versions"), figures.pop("machine")
            for name, value in figures.items():
                sides[side].setdefault(name, []).append(value)
        print(f"round {i + 1} of {options.rounds} done", file=sys.stderr, flush=True)
    document = {
        "kind": "speed",
        "name": "ppo",
        "title": "PPO on CartPole",
        "peer": "Stable-Baselines3",
        "command": f"python3 dev.py bench ppo --rounds {options.rounds}",
        "machine": machine,
        "versions": versions,
        "sides": sides,
        "rows": [
            {
                "label": label,
                "metric": metric,
                "other": other,
                "unit": unit,
                "better": "higher" if metric.startswith("train") else "lower",
                "goal": goal,
            }
            for label, metric, other, unit, goal in ROWS
        ],
    }
    write_json(options.out, document)
    return 1 if print_rows(rows_of(document)) else 0


if __name__ == "__main__":
    sys.exit(main())
