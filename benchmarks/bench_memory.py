"""Does any agent keep memory from one window to the next?

    python3 dev.py bench memory                 # every agent, prints a table, exit 1 if one grew
    python3 dev.py bench memory --agents optix-jax:PPO --windows 300

Each agent trains on small windows in a process of its own, with networks of 16 units and a replay memory that is full
before the first measurement; what is compared is the resident memory after a tenth of the windows and after all of
them. Small windows, because what a window leaves behind is seen best where little else is held.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from common import ChildFailed, child

STEPS = 16
MOST = 0.05
"""Growth that is no leak: allocators do not give everything back."""
REPLAY = {"replay_capacity": 512, "learning_starts": 32, "batch_size": 16, "train_freq": 4}
ON_POLICY = {"n_epochs": 2, "minibatch_size": 8}
AGENTS = {
    "PPO": ("CartPole-v1", ON_POLICY),
    "GaussianPPO": ("Pendulum-v1", ON_POLICY),
    "DQN": ("CartPole-v1", REPLAY),
    "SAC": ("Pendulum-v1", REPLAY),
    "TD3": ("Pendulum-v1", REPLAY),
}
CASES = [f"optix-{backend}:{name}" for backend in ("torch", "jax", "tf") for name in AGENTS]


def resident():
    """Bytes of this process that are in memory now."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure(agent_name, windows):
    """Train one agent; resident memory in MiB after a tenth of the windows and after all."""
    import gymnasium as gym

    from optix_core import VectorBatchPipeline, make_agent

    env_id, hyperparams = AGENTS[agent_name.partition(":")[2]]
    agent = make_agent(
        agent_name, gym.make(env_id), seed=0, device="cpu", hidden_sizes=(16, 16), hyperparams=hyperparams
    )
    pipeline = VectorBatchPipeline([lambda: gym.make(env_id)], agent, STEPS, seed=0)
    pipeline.setup()
    found = {}
    for k, window in enumerate(pipeline.episodes(), 1):
        agent.learn(window)
        if k in {windows // 10, windows}:
            found[k] = resident() / 2**20
        if k == windows:
            break
    pipeline.teardown()
    return {"early": found[windows // 10], "late": found[windows]}


def main():
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        job = json.loads(sys.argv[1])
        print(json.dumps(measure(job["agent"], job["windows"])))
        return 0
    parser = argparse.ArgumentParser(description="Resident memory of agents over many windows")
    parser.add_argument("--agents", metavar="A,B", default=",".join(CASES), help="only these")
    parser.add_argument("--windows", type=int, default=1000)
    options = parser.parse_args()
    if options.windows < 10:
        raise SystemExit(
            "--windows must be at least 10: the first measurement is taken after a tenth of them"
        )
    names = options.agents.split(",")
    if unknown := [name for name in names if name not in CASES]:
        raise SystemExit(f"no case is called {', '.join(unknown)}; there are {', '.join(CASES)}")
    grown = 0
    print(
        f"{'agent':26s} {'after ' + str(options.windows // 10):>12s} {'after ' + str(options.windows):>12s}"
    )
    for name in names:
        try:
            found = child(sys.executable, Path(__file__), {"agent": name, "windows": options.windows})
        except ChildFailed as error:
            print(f"{name}: {error}", file=sys.stderr, flush=True)
            grown += 1
            continue
        growth = found["late"] / found["early"] - 1
        grown += growth >= MOST
        print(
            f"{name:26s} {found['early']:8.1f} MiB {found['late']:8.1f} MiB {100 * growth:+.2f} %", flush=True
        )
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
