"""How fast does PPO act, update and train, beside Stable-Baselines3 in the same run?

# needs-peers

    python3 dev.py bench ppo            # prints a table, writes benchmarks/results/local/ppo.json
    python3 dev.py bench ppo -- --rounds 5

Every round runs one process of each side, one after the other, on one thread. What counts is CPU time of the process
(``time.process_time``), because it hardly depends on what else runs. Within a process, acting and the update are the
best of several repetitions; reported are the median over rounds, its range and the ratio of the medians.

Both sides: CartPole-v1, 2048 steps per update in all, 10 epochs, minibatch 64, separate 64x64 tanh networks, learning
rate 3e-4, gamma 0.99, lambda 0.95, clip 0.2, entropy coefficient 0, gradient norm 0.5.

a  end to end: environment steps per CPU second, 1 and 8 environments (collecting and learning; no validation)
b  acting: one complete decision for one observation, as each side's rollout makes it
c  the update alone: one window of 2048 samples, 320 gradient steps
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
RATES = {"train_1", "train_8"}  # larger is better; everything else is a time

ROWS = [
    ("a  train, 1 env: steps per CPU-s", "train_1", "train_1", 4.0),
    ("a  train, 8 envs: steps per CPU-s", "train_8", "train_8", 4.0),
    ("b  act, 1 observation: us", "act_1", "act_1", 20.0),
    ("b  act, 8 observations: us", "act_8", "act_8", None),
    ("c  update, closed form: ms", "update_closed_form", "update", 5.0),
    ("c  update, autograd: ms", "update_autograd", "update", 2.5),
]


def measure(python: str, script: str) -> dict[str, float]:
    """One process of one side; its last line of output holds the figures."""
    done = subprocess.run(
        [python, str(HERE / script)],
        env={**os.environ, **THREADS},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{script} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):,.1f} ({min(values):,.1f} to {max(values):,.1f})"


def main() -> int:
    parser = argparse.ArgumentParser(description="PPO beside Stable-Baselines3")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE.parent / "results" / "local" / "ppo.json")
    options = parser.parse_args()
    peers = os.environ.get("OPTIX_PEERS_PYTHON")
    if not peers:
        raise SystemExit("OPTIX_PEERS_PYTHON is not set; run this through: python3 dev.py bench ppo")
    ours: dict[str, list[float]] = {}
    theirs: dict[str, list[float]] = {}
    for i in range(options.rounds):
        for python, script, into in ((sys.executable, "ours.py", ours), (peers, "sb3.py", theirs)):
            for name, value in measure(python, script).items():
                into.setdefault(name, []).append(value)
        print(f"round {i + 1} of {options.rounds} done", file=sys.stderr, flush=True)
    missed = 0
    print(f"{'':36}{'optix-torch':>30}{'Stable-Baselines3':>30}{'ratio':>8}{'goal':>7}")
    for label, name, other, goal in ROWS:
        a, b = statistics.median(ours[name]), statistics.median(theirs[other])
        ratio = a / b if name in RATES else b / a
        below = goal is not None and ratio < goal
        missed += below
        print(
            f"{label:36}{spread(ours[name]):>30}{spread(theirs[other]):>30}{ratio:>7.1f}x"
            f"{'' if goal is None else f'{goal:g}x':>7}{'  MISSED' if below else ''}"
        )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"optix": ours, "sb3": theirs}, indent=1), encoding="utf-8")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
