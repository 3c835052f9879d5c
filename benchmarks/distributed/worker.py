"""One measurement of ours in a process of its own; its argument and its result are JSON documents."""

from __future__ import annotations

import json
import resource
import sys
import time

import gymnasium as gym
import torch

from optix_distributed import AsyncActorLearner
from optix_torch.networks.mlp import mlp


class Waiting(gym.Wrapper):
    """Sleeps in every step, as a simulator behind a socket does."""

    def __init__(self, env, seconds):
        super().__init__(env)
        self.seconds = seconds

    def step(self, action):
        time.sleep(self.seconds)
        return self.env.step(action)


def cpu_s():
    """Processor time of this process and of those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def networks(seed):
    g = torch.Generator().manual_seed(seed)
    actor = mlp((4, 64, 64, 2), "tanh", output_gain=0.01, generator=g)
    critic = mlp((4, 64, 64, 1), "tanh", output_gain=1.0, generator=g)
    parameters = [*actor.parameters(), *critic.parameters()]
    return actor, critic, torch.optim.Adam(parameters, lr=2e-3, eps=1e-5)


def main(steps, wait_s=0.0, seed=0, warm_up=False, **options):
    def make():
        env = gym.make("CartPole-v1")
        return Waiting(env, wait_s) if wait_s else env

    with AsyncActorLearner(*networks(seed), make, seed=seed, **options) as learner:
        while (
            warm_up and min(learner.stats()["actor_steps"]) < learner.settings.slot_steps
        ):  # until all take part
            learner.run(learner.total_steps + learner.settings.slot_steps)
        before, began = learner.total_steps, time.perf_counter()
        result = learner.run(before + steps)
        elapsed = time.perf_counter() - began
        trained = learner.total_steps - before
    kept = (
        "total_updates",
        "steps_collected",
        "discarded",
        "steps_lost",
        "lag_mean",
        "lag_max",
        "mean_return",
    )
    learner_s = cpu_s()
    actors_s = (
        sum(result["actor_cpu_s"]) if options.get("backend") == "ray" else 0.0
    )  # whose parent is another process
    times = {"elapsed_s": elapsed, "learner_s": learner_s, "cpu_s": learner_s + actors_s}
    return {"trained": trained, **times, **{k: result[k] for k in kept}}


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
