"""What does a step of DQN, SAC and TD3 cost end to end, beside Stable-Baselines3 in the same run?

# needs-peers

    python3 dev.py bench offpolicy               # prints a table, writes benchmarks/results/offpolicy.json
    python3 dev.py bench offpolicy --rounds 5 --cases dqn-cartpole,sac-pendulum

Every round runs, case by case, one process of each side, one after the other, on one thread. What counts is CPU time of
the process (``time.process_time``) per environment step, one gradient step each, once training is under way: acting,
stepping the environment, storing, sampling and learning; no validation and no checkpoint. Reported are medians over
rounds with their range; the ratio is that of the two sides in the same round, its median and range. Memory is the
largest resident set of the process, with a replay buffer for 100,000 transitions on both sides.

DQN: CartPole-v1, 64x64, batch 64. SAC and TD3: 256x256, batch 256, on Pendulum-v1 and on an environment as wide as
HalfCheetah that costs nothing itself (cases.py).
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from common import RESULTS, ChildFailed, child, write_json
from offpolicy.cases import CASES
from speed import print_rows, rows_of


def rows(cases):
    found = []
    for name in cases:
        found += [
            {
                "label": f"{name}: CPU time per step",
                "metric": f"{name}.step_us",
                "unit": "us",
                "better": "lower",
                "goal": CASES[name]["goal"],
            },
            {
                "label": f"{name}: peak memory",
                "metric": f"{name}.peak_memory_mib",
                "unit": "MiB",
                "better": "lower",
                "goal": 0.98,  # no higher: two percent is what loading the same libraries varies
            },
        ]
    return found


def main():
    parser = argparse.ArgumentParser(description="off-policy agents beside Stable-Baselines3")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", metavar="A,B", default=",".join(CASES), help="only these")
    parser.add_argument("--out", type=Path, default=RESULTS / "offpolicy.json")
    options = parser.parse_args()
    names = options.cases.split(",")
    if unknown := [name for name in names if name not in CASES]:
        raise SystemExit(f"no case is called {', '.join(unknown)}; there are {', '.join(CASES)}")
    peers = os.environ.get("OPTIX_PEERS_PYTHON")
    if not peers:
        raise SystemExit("OPTIX_PEERS_PYTHON is not set; run this through: python3 dev.py bench offpolicy")
    sides = {"optix": {}, "sb3": {}}
    about = {}
    failed = 0
    for i in range(options.rounds):
        for name in list(names):
            try:
                both = {
                    side: child(python, HERE / script, CASES[name])
                    for side, python, script in (
                        ("optix", sys.executable, "ours.py"),
                        ("sb3", peers, "sb3.py"),
                    )
                }
            except ChildFailed as error:
                print(f"{name}: {error}", file=sys.stderr, flush=True)
                names.remove(name)
                failed += 1
                continue
            for side, figures in both.items():
                about[side] = figures.pop("versions")
                about["machine"] = figures.pop("machine")
                for metric, value in figures.items():
                    sides[side].setdefault(f"{name}.{metric}", []).append(value)
        print(f"round {i + 1} of {options.rounds} done", file=sys.stderr, flush=True)
    if not names:
        return 1
    document = {
        "kind": "speed",
        "name": "offpolicy",
        "title": "Off-policy agents, end to end",
        "peer": "Stable-Baselines3",
        "command": f"python3 dev.py bench offpolicy --rounds {options.rounds}",
        "machine": about.pop("machine"),
        "versions": about,
        "sides": {
            side: {k: v for k, v in found.items() if k.split(".")[0] in names}
            for side, found in sides.items()
        },
        "rows": rows(names),
    }
    write_json(options.out, document)
    return 1 if print_rows(rows_of(document)) + failed else 0


if __name__ == "__main__":
    sys.exit(main())
