"""A program that trains on a Ray cluster of its own, for tests that end it: ``ray_driver.py train|forever``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import torch
from actor_envs import CartPole
from conftest import perceptron

from optix_distributed import AsyncActorLearner


def say(**facts):
    print(json.dumps(facts), flush=True)


def main():
    g = torch.Generator().manual_seed(0)
    actor, critic = perceptron(4, 2, 0.01, g), perceptron(4, 1, 1.0, g)
    optimizer = torch.optim.Adam([*actor.parameters(), *critic.parameters()], lr=1e-3)
    one = AsyncActorLearner(actor, critic, optimizer, CartPole(), 2, 16, envs_per_actor=4, backend="ray")
    one.run(200)
    import ray

    backend = one.collection.backend
    say(pids=backend.pids, folder=backend._held.session._connection.folder)
    result = one.run(1000 if sys.argv[1] == "train" else 10**9, max_seconds=120)
    one.close()
    say(
        total_steps=result["total_steps"], interrupted=result["interrupted"], initialised=ray.is_initialized()
    )


if __name__ == "__main__":
    main()
