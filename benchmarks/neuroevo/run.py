"""Do graphs learn, and does growth give what a network lacks? ``python dev.py bench neuroevo``.

Cases, each with several seeds (see ``CASES``): CartPole from 8 hidden neurons; CartPole without velocities with growth
decided by the controller, without growth, with growth at a random time, and with a network of the final size from the
start; Pendulum. Writes ``benchmarks/results/neuroevo.json``; a case that is there already is not run again unless
``--again``.
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
MASKED = {"env": "optix/CartPoleNoVel-v0", "agent": {"neuron": "point"}, "budget": 300_000}
CASES = {
    "cartpole": {"env": "CartPole-v1", "agent": {}, "budget": 150_000, "window_size": 128, "growth": "none"},
    "masked, grown by the controller": {**MASKED, "growth": "plateau"},
    "masked, no growth": {**MASKED, "growth": "none"},
    "masked, grown at a random time": {**MASKED, "growth": "random"},
    "masked, fixed at a final size": {**MASKED, "growth": "fixed"},
    "pendulum": {"env": "Pendulum-v1", "agent": {}, "budget": 300_000, "growth": "none"},
}


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
            child = subprocess.run(
                [sys.executable, str(HERE / "work.py"), json.dumps(job)],
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
