"""The side of sbx, Stable-Baselines3 on JAX; prints one JSON line. Run by run.py in an environment of its own."""

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
import sbx
from measuring import best, main, per_call, timed
from stable_baselines3.common.vec_env import DummyVecEnv

WINDOWS = 4


def ppo():
    envs = DummyVecEnv([lambda: gym.make("CartPole-v1")] * 8)
    return sbx.PPO(
        "MlpPolicy", envs, n_steps=256, batch_size=64, n_epochs=10, learning_rate=3e-4, ent_coef=0.0, seed=0
    )


def ppo_update():
    """Milliseconds of train() on a full rollout buffer of 2048 samples."""
    model = ppo()
    first = timed(lambda: model.learn(2048))
    return {"value": 1e3 * best(model.train, 7), "first_s": first}


def ppo_train_8():
    """Environment steps per CPU second of learn(), after one window of warm-up."""
    model = ppo()
    model.learn(2048)
    start = time.process_time()
    model.learn(WINDOWS * 2048, reset_num_timesteps=False)
    return {"value": WINDOWS * 2048 / (time.process_time() - start)}


SAC_STEPS = 1000


def sac():
    """A model under way: the first updates, which compile, are over."""
    model = sbx.SAC(
        "MlpPolicy",
        gym.make("Pendulum-v1"),
        learning_rate=3e-4,
        batch_size=256,
        buffer_size=100_000,
        learning_starts=500,
        train_freq=1,
        gradient_steps=1,
        policy_kwargs={"net_arch": [256, 256]},
        seed=0,
    )
    model.learn(800)
    return model


def sac_gradient():
    """Milliseconds of train() for one gradient step of 256 samples."""
    model = sac()
    return {"value": 1e3 * per_call(lambda: model.train(gradient_steps=1, batch_size=256), 500)}


def sac_train():
    """Milliseconds of CPU time per environment step, one gradient step each."""
    model = sac()
    start = time.process_time()
    model.learn(SAC_STEPS, reset_num_timesteps=False)
    return {"value": 1e3 * (time.process_time() - start) / SAC_STEPS}


MEASURES = {
    "ppo_update": ppo_update,
    "ppo_train_8": ppo_train_8,
    "sac_gradient": sac_gradient,
    "sac_train": sac_train,
}

if __name__ == "__main__":
    main(MEASURES)
