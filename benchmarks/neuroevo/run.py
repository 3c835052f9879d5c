"""Do graphs learn, and does growth give what a network lacks? ``python dev.py bench neuroevo``.

Cases, each with several seeds (see ``CASES``): CartPole from 8 hidden neurons; CartPole without velocities with growth
decided by the controller, without growth, with growth at a random time, and with a network of the final size from the
start; Pendulum; mazes that ask for memory; two poles balanced by a population; CartPole whose sensors are exchanged
half-way; and tasks of Gymnasium beside a perceptron. Writes ``benchmarks/results/neuroevo.json``; a case that is there
already is not run again unless ``--again``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results" / "neuroevo.json"
MASKED = {
    "env": "optix/CartPoleNoVel-v0", "budget": 200_000,
    "agent": {"neuron": "point", "grow_op": "add_edge", "learning_rate_decay_steps": 200_000},
}  # fmt: skip
MAZE = {"budget": 200_000, "growth": "none"}
HALF = 60_000
EXCHANGED = {"env": f"exchanged:{HALF // 8}", "agent": {"neuron": "point"}, "budget": 2 * HALF}
POLES = {
    "kind": "poles", "mutators": {"insert_on_edge": 0.03, "add_random_edge": 0.05},
    "settings": {"sigma": 3.0, "initial": 3.0, "replace": 0.02},
}  # fmt: skip
GYM = ("Acrobot-v1", "Pendulum-v1", "MountainCarContinuous-v0", "LunarLander-v3", "BipedalWalker-v3")
CASES = {
    "cartpole": {"env": "CartPole-v1", "agent": {}, "budget": 150_000, "window_size": 128, "growth": "none"},
    "masked, grown by the controller": {**MASKED, "growth": "default"},
    "masked, no growth": {**MASKED, "growth": "none"},
    "masked, grown at a random time": {**MASKED, "growth": "random"},
    "masked, fixed at a final size": {**MASKED, "growth": "fixed"},
    "pendulum": {"env": "Pendulum-v1", "agent": {}, "budget": 150_000, "growth": "default"},
    "maze of 10": {**MAZE, "env": "tmaze:10", "agent": {"chunk_len": 16}},
    "maze of 50": {**MAZE, "env": "tmaze:50", "agent": {"chunk_len": 64}},
    "maze of 10, no memory": {**MAZE, "env": "tmaze:10", "agent": {"neuron": "point"}},
    "two poles": {**POLES, "velocities": True, "evaluations": 7_200},
    "two poles, no velocities": {
        **POLES, "velocities": False, "evaluations": 66_368,
        "mutators": {"insert_on_edge": 0.03, "add_random_edge": 0.3},
        "settings": {**POLES["settings"], "max_delay": 1},
    },
    "exchanged, grown": {**EXCHANGED, "growth": "default"},
    "exchanged, fixed": {**EXCHANGED, "growth": "none"},
    "exchanged, from the start": {**EXCHANGED, "env": "exchanged:0", "budget": HALF, "growth": "none"},
    **{f"{name}, graph": {"env": name, "agent": {}, "budget": 150_000, "growth": "default"} for name in GYM},
    **{f"{name}, perceptron": {"env": name, "agent": {}, "budget": 150_000, "growth": "perceptron"} for name in GYM},
}  # fmt: skip
"""Cases of single agents are run by work.py, those of ``"kind": "poles"`` by poles.py."""


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--case", action="append", choices=list(CASES))
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for seed in range(options.seeds):
        for name in options.case or CASES:
            done = found.setdefault(name, {})
            if str(seed) in done and not options.again:
                continue
            job = {"n_envs": 8, "window_size": 256, **CASES[name], "seed": seed}
            script = "poles.py" if job.get("kind") == "poles" else "work.py"
            child = subprocess.run(
                [sys.executable, str(HERE / script), json.dumps(job)],
                capture_output=True,
                text=True,
                check=False,
                env=environment,
            )
            if child.returncode:
                print(child.stderr[-2000:])
                return 1
            done[str(seed)] = json.loads(child.stdout.splitlines()[-1])
            RESULTS.write_text(json.dumps(found, indent=1) + "\n")
            print(f"{name}, seed {seed}: {done[str(seed)]['mean']:.1f}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
