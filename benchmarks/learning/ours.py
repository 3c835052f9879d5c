"""Train and evaluate one agent of optix; the argument and the last line of output are JSON. Run by run.py.

The plain training of the agent through the public pipelines: ``make_agent``, then window after window of
``VectorBatchPipeline`` is handed to ``agent.learn`` until the budget is used up, the last window being shortened to
meet it. No loop, no tuning, no validation, no checkpoint, no early stop: what is measured is the weights at the end.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import machine, peak_memory_mib, versions

from optix_core import EvaluationPipeline, VectorBatchPipeline, make_agent
from optix_core.plugins.envs import make_env
from optix_core.seeding import Domain, derive_seed

OFF_POLICY_WINDOW = 1000


def run(job):
    def factory():
        return make_env(job["env"])

    own = factory()
    agent = make_agent(
        job["algorithm"],
        own,
        seed=job["seed"],
        device="cpu",
        framework=job.get("framework", "torch"),
        **job["agent"],
    )
    own.close()
    window_size = job["window_size"] or OFF_POLICY_WINDOW
    pipeline = VectorBatchPipeline([factory] * job["n_envs"], agent, window_size, seed=job["seed"])
    pipeline.setup()
    cpu, wall = time.process_time(), time.monotonic()
    steps, windows = 0, pipeline.episodes()
    while steps < job["budget"]:
        left = job["budget"] - steps
        if left < window_size * job["n_envs"] and not pipeline.limit_next_window(left):
            break  # less than one step of every environment is left
        window = next(windows)
        agent.learn(window)
        steps += window.n_steps
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    pipeline.teardown()
    evaluation = EvaluationPipeline(
        factory, agent, episodes=job["episodes"], seed=derive_seed(job["seed"], Domain.VALIDATION, 99)
    )
    evaluation.setup()
    returns = [record.episode_return for record in evaluation.evaluate(0).episodes]
    evaluation.teardown()
    return {
        "steps": steps,
        "cpu_seconds": cpu,
        "wall_seconds": wall,
        "peak_memory_mib": peak_memory_mib(),
        "returns": returns,
        "versions": versions(),
        "machine": machine(),
    }


if __name__ == "__main__":
    print(json.dumps(run(json.loads(sys.argv[1]))))
