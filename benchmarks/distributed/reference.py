"""One measurement of the reference package's asynchronous learner, in its own environment."""

from __future__ import annotations

import json
import resource
import sys
import time

import gymnasium as gym
import torch
from tensor_optix import AsyncActorLearner
from torch import nn


def mlp(n_out):
    return nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, n_out))


def make():
    return gym.make("CartPole-v1")


def main(steps, n_actors=2, seed=0):
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    actor, critic = mlp(2), mlp(1)
    optimizer = torch.optim.Adam([*actor.parameters(), *critic.parameters()], lr=1e-3)
    learner = AsyncActorLearner(
        actor, critic, optimizer, make, n_actors=n_actors, trajectory_len=64, seed=seed
    )
    began = time.perf_counter()
    learner.run(max_steps=steps)
    elapsed = time.perf_counter() - began
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu_s = sum(u.ru_utime + u.ru_stime for u in used)
    return {"trained": learner.total_updates * 64, "elapsed_s": elapsed, "cpu_s": cpu_s}


if __name__ == "__main__":
    found = main(**json.loads(sys.argv[1]))
    print(json.dumps(found), flush=True)
