"""The side of Stable-Baselines3; prints one JSON line of figures. Run by run.py in an environment of its own."""

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
from stable_baselines3 import PPO
from stable_baselines3.common.utils import obs_as_tensor
from stable_baselines3.common.vec_env import DummyVecEnv

WINDOWS = 4


def model_for(n):
    envs = DummyVecEnv([lambda: gym.make("CartPole-v1")] * n)
    # the defaults are 10 epochs, minibatch 64, 64x64 tanh, separate networks, lr 3e-4, entropy coefficient 0
    return PPO("MlpPolicy", envs, n_steps=2048 // n, batch_size=64, n_epochs=10, seed=0, device="cpu")


def train(n):
    """Environment steps per CPU second of learn(), after one window of warm-up."""
    model = model_for(n)
    model.learn(2048)
    start = time.process_time()
    model.learn(WINDOWS * 2048, reset_num_timesteps=False)
    return WINDOWS * 2048 / (time.process_time() - start)


def act(n, repeats=2_000):
    """Microseconds of what its rollout does per step to get actions for n observations: the best of five runs."""
    model = model_for(n)
    model.policy.set_training_mode(mode=False)
    observations = np.random.default_rng(0).standard_normal((n, 4)).astype(np.float32)
    best = np.inf
    for _ in range(5):
        start = time.process_time()
        for _ in range(repeats // 5):
            with torch.no_grad():
                actions, _, _ = model.policy(obs_as_tensor(observations, model.device))
            actions.cpu().numpy()
        best = min(best, (time.process_time() - start) / (repeats // 5))
    return best * 1e6


def update():
    """Milliseconds of train() on a full rollout buffer of 2048 samples: the best of seven."""
    model = model_for(8)
    model.learn(2048)
    times = []
    for _ in range(7):
        start = time.process_time()
        model.train()
        times.append(time.process_time() - start)
    return min(times) * 1e3


if __name__ == "__main__":
    torch.set_num_threads(1)
    figures = {"train_1": train(1), "train_8": train(8), "act_1": act(1), "act_8": act(8), "update": update()}
    figures["peak_memory_mib"] = peak_memory_mib()
    print(json.dumps({**figures, "versions": versions(), "machine": machine()}))
