"""The side of optix-tf; prints one JSON line of figures. Run by run.py."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import gymnasium as gym
import numpy as np
import tensorflow as tf
from measuring import best, main, per_call, timed

from optix_core import VectorBatchPipeline, make_agent

HP = {"entropy_coef": 0.0}
WINDOWS = 4


def ppo():
    return make_agent("optix-tf:PPO", gym.make("CartPole-v1"), seed=0, device="cpu", hyperparams=HP)


def windows_of(agent, n=8):
    pipeline = VectorBatchPipeline([lambda: gym.make("CartPole-v1")] * n, agent, 2048 // n, seed=0)
    pipeline.setup()
    return pipeline.episodes()


def ppo_update():
    """Milliseconds of learn() on 2048 samples, 320 gradient steps."""
    agent = ppo()
    window = next(windows_of(agent))
    first = timed(lambda: agent.learn(window))
    return {"value": 1e3 * best(lambda: agent.learn(window), 9), "first_s": first}


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


def sac_gradient():
    """Milliseconds of one gradient step as observe() makes it: a draw from replay, noise, and the compiled update."""
    agent = make_agent(
        "optix-tf:SAC",
        gym.make("Pendulum-v1"),
        seed=0,
        device="cpu",
        hidden_sizes=(256, 256),
        replay_capacity=100_000,
        learning_starts=500,
    )
    pipeline = VectorBatchPipeline([lambda: gym.make("Pendulum-v1")], agent, 100, seed=0)
    pipeline.setup()
    windows = pipeline.episodes()
    first = timed(lambda: [agent.learn(next(windows)) for _ in range(6)])
    return {"value": 1e3 * per_call(lambda: agent._gradient_steps(1), 250), "first_s": first}


MEASURES = {
    "ppo_update": ppo_update,
    "ppo_train_8": ppo_train_8,
    "ppo_act": ppo_act,
    "sac_gradient": sac_gradient,
}

if __name__ == "__main__":
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    main(MEASURES)
