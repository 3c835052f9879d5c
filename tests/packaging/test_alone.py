"""Does each backend work where no other framework can be imported?"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

PARTS = {
    "torch": ("torch",),
    "jax": ("jax", "jaxlib", "flax", "optax"),
    "tf": ("tensorflow", "keras"),
}
TRAIN = """
import sys

sys.modules.update(dict.fromkeys({blocked!r}))  # as if they were not installed

import gymnasium as gym
from optix_core import BatchPipeline, make_agent

for name, task in (("DQN", "CartPole-v1"), ("SAC", "Pendulum-v1")):
    env = gym.make(task)
    agent = make_agent(
        name, env, framework={framework!r}, seed=0, learning_starts=20, batch_size=8, hidden_sizes=(8,)
    )
    pipeline = BatchPipeline(env, agent=agent, window_size=30, seed=0)
    pipeline.setup()
    assert agent.learn(next(pipeline.episodes()))["n_updates"] == 10
    agent.load_state_dict(agent.state_dict())
assert {framework!r} in agent.__module__
"""


@pytest.mark.parametrize("framework", PARTS)
def test_a_backend_trains_without_the_others(framework: str) -> None:
    for module in (*PARTS[framework], f"optix_{framework}"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    blocked = [part for other, parts in PARTS.items() if other != framework for part in parts]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", TRAIN.format(blocked=blocked, framework=framework)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
