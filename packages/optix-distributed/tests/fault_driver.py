"""A program that trains, for tests that kill it: ``fault_driver.py DIR WHAT [MORE]``."""

from __future__ import annotations

import json
import resource
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import torch
from actor_envs import CartPole, Make, Misbehaving
from conftest import perceptron

from optix_core.checkpoints import CheckpointStore
from optix_distributed import AsyncActorLearner


def say(**facts):
    print(json.dumps(facts), flush=True)


def main():
    place, what, *more = Path(sys.argv[1]), *sys.argv[2:]
    g = torch.Generator().manual_seed(0)
    n_in = 4 if what in {"train", "full"} else 2
    actor, critic = perceptron(n_in, 2, 0.01, g), perceptron(n_in, 1, 1.0, g)
    optimizer = torch.optim.Adam([*actor.parameters(), *critic.parameters()], lr=1e-3)
    env = CartPole()
    if what == "child":
        env = Make(Misbehaving, "child", 10**9, str(place / "pids"))
    if what == "stuck":
        env = Make(Misbehaving, "sleep", 40)
    failures, stop_at = [], None
    one = AsyncActorLearner(
        actor, critic, optimizer, env, 2, 16, envs_per_actor=1 if what == "child" else 4,
        checkpoint_dir=place / "checkpoints", checkpoint_every_s=0.2, resume=True, on_env_error="restart",
        callbacks=[lambda facts: failures.append(1) if facts["event"] == "checkpoint_failed" else None],
    )  # fmt: skip
    if what == "stuck":
        one.collection.publish()
        one.collection._start()
        while len(one.collection.backend.pids) < 2 or one.stats()["steps_collected"] < 100:
            one.collection.backend.poll(0.05)
    else:
        one.run(one.total_steps + 200)
    facts = {"pids": [*one.collection.backend.pids, one.collection.backend._held.guard.pid]}
    if what == "child":
        facts["child"] = int((place / "pids").read_text().split()[1])
    say(**facts, resumed_at=one._steps_before, updates=one._updates_before)
    if what == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, resource.RLIM_INFINITY))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        stop_at = one.total_steps + 3000
    elif more:
        stop_at = one._steps_before + int(more[0])
    result = one.run(stop_at or 10**9, max_seconds=60)
    loadable = False
    if what == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        loadable = bool(CheckpointStore(place / "checkpoints").load().components["agent"])
        one.close()
    names = ("total_steps", "total_updates", "interrupted", "signal")
    say(**{name: result[name] for name in names}, failed=len(failures), loadable=loadable)
    time.sleep(0)


if __name__ == "__main__":
    main()
