"""The side of optix-jax; prints one JSON line of figures. Run by run.py."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import gymnasium as gym
import numpy as np
from measuring import best, main, per_call, timed

from optix_core import VectorBatchPipeline, make_agent

HP = {"entropy_coef": 0.0}
WINDOWS = 8


def ppo():
    return make_agent("optix-jax:PPO", gym.make("CartPole-v1"), seed=0, device="cpu", hyperparams=HP)


def windows_of(agent, n=8):
    pipeline = VectorBatchPipeline([lambda: gym.make("CartPole-v1")] * n, agent, 2048 // n, seed=0)
    pipeline.setup()
    return pipeline.episodes()


def ppo_update():
    """Milliseconds of learn() on 2048 samples, 320 gradient steps."""
    agent = ppo()
    window = next(windows_of(agent))
    first = timed(lambda: agent.learn(window))
    return {"value": 1e3 * best(lambda: agent.learn(window), 15), "first_s": first}


def ppo_train_8():
    """Environment steps per CPU second, collecting and learning, after one window of warm-up."""
    agent = ppo()
    windows = windows_of(agent)
    agent.learn(next(windows))
    start = time.process_time()
    for _ in range(WINDOWS):
        agent.learn(next(windows))
    return {"value": WINDOWS * 2048 / (time.process_time() - start)}


def ppo_act():
    """Microseconds of one complete decision."""
    agent = ppo()
    row = np.random.default_rng(0).standard_normal(4).astype(np.float32)
    return {"value": 1e6 * per_call(lambda: agent.act(row), 20_000)}


SAC_HP = {"learning_rate": 3e-4, "batch_size": 256, "replay_capacity": 100_000, "learning_starts": 500}
SAC_STEPS = 1000


def sac():
    """An agent under way and its windows of 100 steps; the first updates, which compile, are over."""
    agent = make_agent(
        "optix-jax:SAC", gym.make("Pendulum-v1"), seed=0, device="cpu", hidden_sizes=(256, 256), **SAC_HP
    )
    pipeline = VectorBatchPipeline([lambda: gym.make("Pendulum-v1")], agent, 100, seed=0)
    pipeline.setup()
    windows = pipeline.episodes()
    for _ in range(8):
        agent.learn(next(windows))
    return agent, windows


def sac_gradient():
    """Milliseconds of one gradient step as observe() makes it: a draw from replay, noise, and the compiled update."""
    agent, _ = sac()
    return {"value": 1e3 * per_call(lambda: agent._gradient_steps(1), 500)}


def sac_train():
    """Milliseconds of CPU time per environment step, one gradient step each."""
    agent, windows = sac()
    start = time.process_time()
    for _ in range(SAC_STEPS // 100):
        agent.learn(next(windows))
    return {"value": 1e3 * (time.process_time() - start) / SAC_STEPS}


MEASURES = {
    "ppo_update": ppo_update,
    "ppo_train_8": ppo_train_8,
    "ppo_act": ppo_act,
    "sac_gradient": sac_gradient,
    "sac_train": sac_train,
}

if __name__ == "__main__":
    main(MEASURES)
