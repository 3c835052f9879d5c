"""The side of Stable-Baselines3 for one case; prints one JSON line of figures. Run by run.py."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import stable_baselines3
import torch
from cases import WARM_UP, make
from common import machine, peak_memory_mib, versions
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv

RENAMED = {"replay_capacity": "buffer_size", "target_update_freq": "target_update_interval"}


def measure(case):
    kwargs = {RENAMED.get(name, name): value for name, value in case["agent"].items()}
    policy = {"net_arch": kwargs.pop("hidden_sizes")}
    envs = DummyVecEnv([lambda: make(case["env"])])
    if case["algorithm"] == "TD3":
        dim = envs.action_space.shape[0]
        kwargs["action_noise"] = NormalActionNoise(np.zeros(dim), 0.1 * np.ones(dim))
    cls = getattr(stable_baselines3, case["algorithm"])
    model = cls("MlpPolicy", envs, seed=0, device="cpu", policy_kwargs=policy, **kwargs)
    model.learn(WARM_UP + 500)
    start = time.process_time()
    model.learn(case["steps"], reset_num_timesteps=False)
    spent = time.process_time() - start
    return {"step_us": spent / case["steps"] * 1e6, "peak_memory_mib": peak_memory_mib()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    figures = measure(json.loads(sys.argv[1]))
    print(json.dumps({**figures, "versions": versions(), "machine": machine()}))
