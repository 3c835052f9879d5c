"""The side of optix-torch; prints one JSON line of figures. Run by run.py."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import gymnasium as gym
import numpy as np
import torch
from common import machine, peak_memory_mib, versions

from optix_core import VectorBatchPipeline, make_agent

HP = {"entropy_coef": 0.0}
WINDOWS = 4


def agent_for(env, engine="auto"):
    return make_agent("optix-torch:PPO", env, seed=0, device="cpu", hyperparams=HP, engine=engine)


def train(n):
    """Environment steps per CPU second, collecting and learning, after one window of warm-up."""
    agent = agent_for(gym.make("CartPole-v1"))
    pipeline = VectorBatchPipeline([lambda: gym.make("CartPole-v1")] * n, agent, 2048 // n, seed=0)
    pipeline.setup()
    windows = pipeline.episodes()
    agent.learn(next(windows))
    start = time.process_time()
    for _ in range(WINDOWS):
        agent.learn(next(windows))
    spent = time.process_time() - start
    pipeline.teardown()
    return WINDOWS * 2048 / spent


def act(n, repeats=20_000):
    """Microseconds of one complete decision (sampled action) for n observations: the best of five runs."""
    agent = agent_for(gym.make("CartPole-v1"))
    observations = np.random.default_rng(0).standard_normal((n, 4)).astype(np.float32)
    best = np.inf
    for _ in range(5):
        start = time.process_time()
        for _ in range(repeats // 5):
            agent.env_actions(agent.act_batch(observations))
        best = min(best, (time.process_time() - start) / (repeats // 5))
    return best * 1e6


def update(engine):
    """Milliseconds of one learn() on 2048 samples: the best of seven."""
    agent = agent_for(gym.make("CartPole-v1"), engine)
    pipeline = VectorBatchPipeline([lambda: gym.make("CartPole-v1")] * 8, agent, 256, seed=0)
    pipeline.setup()
    window = next(pipeline.episodes())
    agent.learn(window)
    times = []
    for _ in range(7):
        start = time.process_time()
        agent.learn(window)
        times.append(time.process_time() - start)
    pipeline.teardown()
    return min(times) * 1e3


if __name__ == "__main__":
    torch.set_num_threads(1)
    figures = {"train_1": train(1), "train_8": train(8), "act_1": act(1), "act_8": act(8)}
    figures["update_closed_form"] = update("closed_form")
    figures["peak_memory_mib"] = peak_memory_mib()  # here, where the other side has done the same work
    figures["update_autograd"] = update("autograd")
    print(json.dumps({**figures, "versions": versions(), "machine": machine()}))
