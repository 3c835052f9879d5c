"""Trains one agent on actors and evaluates it; the argument and the last line of output are JSON. Run by run.py.

What counts are the weights after a fixed number of steps that were learned from: no loop, no tuning, no early stop.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from optix_core import EvaluationPipeline, make_agent
from optix_core.plugins.envs import make_env
from optix_core.seeding import Domain, derive_seed
from optix_distributed import AsyncActorLearner
from optix_distributed.pipeline import DistributedPipeline
from optix_distributed.settings import CollectionSettings


def by_vtrace(agent, factory, job):
    """One gradient step for each batch of trajectories."""
    with AsyncActorLearner(agent, None, None, factory, seed=job["seed"], **job["collection"]) as learner:
        learner.run(job["steps"])
        return learner.stats()


def by_the_agent(agent, factory, job):
    """The agent's own updates, window after window, as the runner ``async`` makes them."""
    settings = CollectionSettings(**job["collection"])
    pipeline = DistributedPipeline(agent, factory, settings, seed=job["seed"])
    pipeline.setup()
    try:
        steps = 0
        while steps < job["steps"]:
            window = pipeline.collect()
            agent.learn(window)
            steps += window.n_steps
        return pipeline.stats()
    finally:
        pipeline.teardown()


LEARNERS = {"vtrace": by_vtrace, "agent": by_the_agent}


def main(job):
    def factory():
        return make_env(job["env"])

    def evaluated():
        pipeline = EvaluationPipeline(
            factory, agent, episodes=job["episodes"], seed=derive_seed(job["seed"], Domain.VALIDATION, 99)
        )
        pipeline.setup()
        returns = [record.episode_return for record in pipeline.evaluate(0).episodes]
        pipeline.teardown()
        return returns

    own = factory()
    agent = make_agent(
        job["algorithm"], own, framework="torch", seed=job["seed"], device="cpu", **job["agent"]
    )
    own.close()
    before = evaluated()
    stats = LEARNERS[job["learner"]](agent, factory, job)
    return {
        "before": before,
        "returns": evaluated(),
        "steps_trained": stats["steps_trained"],
        "steps_collected": stats["steps_collected"],
        "lag_mean": stats["lag_mean"],
    }


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
