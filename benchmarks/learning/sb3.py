"""Train and evaluate one agent of Stable-Baselines3 or sb3-contrib; argument and last line of output are JSON.

Run by run.py in the peers' environment. Settings arrive under optix's names and are translated here; one that has no
counterpart is an error unless ``WITHOUT_COUNTERPART`` says why it can be left out. What normalises observations or
rewards is ``VecNormalize``, whose statistics are frozen for the evaluation.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
sys.path.insert(
    0, str(ROOT / "packages" / "optix-core" / "src")
)  # for the environments of core, nothing else

import gymnasium as gym
import numpy as np
import sb3_contrib
import stable_baselines3
import torch
from common import machine, peak_memory_mib, versions
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from optix_core.envs import register

SAME = ("gamma", "gae_lambda", "vf_coef", "n_epochs", "max_grad_norm", "tau", "batch_size", "train_freq",
        "gradient_steps", "learning_starts", "policy_delay", "target_noise_clip", "learning_rate")  # fmt: skip
RENAMED = {
    "clip_ratio": "clip_range",
    "entropy_coef": "ent_coef",
    "minibatch_size": "batch_size",
    "replay_capacity": "buffer_size",
    "target_update_freq": "target_update_interval",
    "epsilon": "exploration_initial_eps",
    "epsilon_min": "exploration_final_eps",
    "n_step": "n_steps",
    "target_noise": "target_policy_noise",
}
ACTIVATIONS = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU, "elu": torch.nn.ELU}
WITHOUT_COUNTERPART = {
    "DQN": {"double"},  # there is no double Q-learning
    "QRDQN": {
        "per_alpha",
        "per_beta",
        "per_beta_steps",
        "n_step",
        "n_atoms",
        "v_min",
        "v_max",
    },  # it has none of them
}


def falling(start):
    """From ``start`` to 0, by what is left of the budget."""
    return lambda left: start * left


def translated(job):
    """Arguments of the algorithm's class, and what is to be normalised."""
    agent = dict(job["agent"])
    kwargs = {"seed": job["seed"], "device": "cpu"}
    policy = {}
    on_policy = job["peer"] in {"PPO", "RecurrentPPO"}
    if on_policy:
        kwargs["n_steps"] = job["window_size"]
    normalize = (agent.pop("normalize_observations", False), agent.pop("normalize_rewards", False))
    sizes = agent.pop("hidden_sizes", None)
    if sizes is not None:
        policy["net_arch"] = list(sizes)
    if "activation" in agent:
        policy["activation_fn"] = ACTIVATIONS[agent.pop("activation")]
    if job["peer"] == "RecurrentPPO":
        if agent.pop("cell") != "lstm":
            raise SystemExit("sb3-contrib has LSTM only")
        shared = agent.pop("shared_memory")
        policy |= {
            "lstm_hidden_size": agent.pop("memory_size"),
            "shared_lstm": shared,
            "enable_critic_lstm": not shared,
        }
        if agent.pop("bptt_len"):
            raise SystemExit(
                "sb3-contrib's gradients flow back as far as the window goes: bptt_len must be 0"
            )
    if "epsilon_decay_steps" in agent:
        kwargs["exploration_fraction"] = agent.pop("epsilon_decay_steps") / job["budget"]
    noise = agent.pop("exploration_noise", None)
    if noise is not None:
        dim = int(np.prod(gym.make(job["env"]).action_space.shape))
        kwargs["action_noise"] = NormalActionNoise(np.zeros(dim), noise * np.ones(dim))
    for name in ("learning_rate", "clip_ratio"):
        steps = agent.pop(f"{name}_decay_steps", 0)
        if steps:
            if steps != job["budget"]:
                raise SystemExit(
                    f"the peer's {name} falls over its whole budget, {job['budget']} steps, not {steps}"
                )
            agent[name] = falling(agent[name])
    left_out = WITHOUT_COUNTERPART.get(job["peer"], set())
    for name, value in agent.items():
        if name in left_out:
            continue
        if name in SAME:
            kwargs[name] = value
        elif name in RENAMED:
            kwargs[RENAMED[name]] = value
        else:
            raise SystemExit(
                f"{job['peer']} has no counterpart of {name}; say so in WITHOUT_COUNTERPART or translate it"
            )
    if policy:
        kwargs["policy_kwargs"] = policy
    return kwargs, normalize


def run(job):
    torch.set_num_threads(1)
    register()
    cls = getattr(stable_baselines3, job["peer"], None) or getattr(sb3_contrib, job["peer"])
    kwargs, (observations, rewards) = translated(job)
    envs = DummyVecEnv([lambda: gym.make(job["env"])] * job["n_envs"])
    if observations or rewards:
        envs = VecNormalize(envs, norm_obs=observations, norm_reward=rewards, gamma=kwargs["gamma"])
    policy = "MlpLstmPolicy" if job["peer"] == "RecurrentPPO" else "MlpPolicy"
    cpu, wall = time.process_time(), time.monotonic()
    model = cls(policy, envs, **kwargs)
    model.learn(job["budget"])
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    returns = evaluate(model, envs, job)
    return {
        "steps": int(model.num_timesteps),
        "cpu_seconds": cpu,
        "wall_seconds": wall,
        "peak_memory_mib": peak_memory_mib(),
        "returns": returns,
        "versions": versions(),
        "machine": machine(),
    }


def evaluate(model, envs, job):
    """Returns of fresh greedy episodes, of the environment's own rewards."""
    env = gym.make(job["env"])
    seeds = np.random.SeedSequence([job["seed"], 99]).generate_state(job["episodes"])
    found = []
    for seed in seeds:
        observation, _ = env.reset(seed=int(seed) & 0x7FFF_FFFF)
        state, start, over, total = None, np.ones(1, dtype=bool), False, 0.0
        while not over:
            seen = (
                envs.normalize_obs(observation[None]) if isinstance(envs, VecNormalize) else observation[None]
            )
            action, state = model.predict(seen, state=state, episode_start=start, deterministic=True)
            observation, reward, terminated, truncated, _ = env.step(action[0])
            total, over, start = total + float(reward), terminated or truncated, np.zeros(1, dtype=bool)
        found.append(total)
    return found


if __name__ == "__main__":
    print(json.dumps(run(json.loads(sys.argv[1]))))
