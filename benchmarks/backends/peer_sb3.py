"""The side of Stable-Baselines3; prints one JSON line of figures. Run by run.py in an environment of its own."""

from __future__ import annotations

import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import gymnasium as gym
import numpy as np
import torch
from measuring import best, main, per_call
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.vec_env import DummyVecEnv

WINDOWS = 2


def ppo():
    envs = DummyVecEnv([lambda: gym.make("CartPole-v1")] * 8)
    # the defaults are 10 epochs, minibatch 64, 64x64 tanh, separate networks, lr 3e-4, entropy coefficient 0
    return PPO("MlpPolicy", envs, n_steps=256, batch_size=64, n_epochs=10, seed=0, device="cpu")


def ppo_update():
    """Milliseconds of train() on a full rollout buffer of 2048 samples."""
    model = ppo()
    model.learn(2048)
    return {"value": 1e3 * best(model.train, 4)}


def ppo_train_8():
    """Environment steps per CPU second of learn(), after one window of warm-up."""
    model = ppo()
    model.learn(2048)
    start = time.process_time()
    model.learn(WINDOWS * 2048, reset_num_timesteps=False)
    return {"value": WINDOWS * 2048 / (time.process_time() - start)}


def ppo_act():
    """Microseconds of predict() for one observation."""
    model = ppo()
    row = np.random.default_rng(0).standard_normal(4).astype(np.float32)
    return {"value": 1e6 * per_call(lambda: model.predict(row), 2_000)}


def sac_gradient():
    """Milliseconds of train() for one gradient step of 256 samples."""
    model = SAC(
        "MlpPolicy",
        gym.make("Pendulum-v1"),
        buffer_size=100_000,
        learning_starts=500,
        policy_kwargs={"net_arch": [256, 256]},
        seed=0,
        device="cpu",
    )
    model.learn(600)
    return {"value": 1e3 * per_call(lambda: model.train(gradient_steps=1, batch_size=256), 250)}


MEASURES = {
    "ppo_update": ppo_update,
    "ppo_train_8": ppo_train_8,
    "ppo_act": ppo_act,
    "sac_gradient": sac_gradient,
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    main(MEASURES)
