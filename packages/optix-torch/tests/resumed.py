"""An agent of each kind in the middle of its training, and what it does next; a program for another process, too.

``python resumed.py FOLDER`` builds agents with another seed, loads the checkpoint of each from FOLDER, lets it go on,
and prints as JSON what :func:`go_on` says.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from optix_core import make_agent
from optix_core.checkpoints import CheckpointStore
from optix_core.state import SealedArray
from optix_core.testing.windows import Player, collect

REPLAY = {"learning_starts": 20, "batch_size": 8, "replay_capacity": 500, "n_step": 3, "per_alpha": 0.6}
AGENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "PPO": ("CartPole-v1", {"n_epochs": 2, "normalize_observations": True, "normalize_rewards": True}),
    "GaussianPPO": ("Pendulum-v1", {"n_epochs": 2}),
    "RecurrentPPO": ("Pendulum-v1", {"n_epochs": 2, "memory_size": 8, "bptt_len": 8}),
    "DQN": ("CartPole-v1", {**REPLAY, "target_update_freq": 30, "normalize_observations": True}),
    "Rainbow": ("CartPole-v1", {**REPLAY, "target_update_freq": 30}),
    "SAC": ("Pendulum-v1", {**REPLAY, "normalize_observations": True}),
    "TD3": ("Pendulum-v1", REPLAY),
}


def begun(name: str, seed: int) -> tuple[Any, gym.Env[Any, Any]]:
    """A new agent and its environment."""
    place, options = AGENTS[name]
    env = gym.make(place)
    return make_agent(name, env, seed=seed, device="cpu", hidden_sizes=(16,), **options), env


def trained(name: str) -> tuple[Any, gym.Env[Any, Any]]:
    """One that has learned from two windows; for TD3 with an odd number of gradient steps."""
    agent, env = begun(name, seed=3)
    for seed, steps in ((0, 60), (1, 41)):
        agent.learn(collect(agent, env, steps, seed=seed))
    return agent, env


def go_on(agent: Any, env: gym.Env[Any, Any]) -> dict[str, Any]:
    """Greedy actions, a window that it acts in and learns from, and digests of every part of its state afterwards."""
    rng = np.random.default_rng(0)
    shape = env.observation_space.shape or ()
    seen = rng.standard_normal((6, *shape)).astype(np.float32)
    player = Player(agent)
    greedy = [np.asarray(player.decide(row, deterministic=True)[1]).tolist() for row in seen]
    window = collect(agent, env, 30, seed=7)
    report = agent.learn(window)
    return {
        "greedy": greedy,
        "actions": digest(window.actions),
        "report": {key: float(value) for key, value in report.items()},
        "state": {key: digest(value) for key, value in agent.state_dict().items()},
    }


def digest(value: Any) -> str:
    """Of every bit of a state."""
    found = hashlib.sha256()

    def walk(it: Any) -> None:
        if isinstance(it, dict):
            for key in sorted(it):
                found.update(key.encode())
                walk(it[key])
        elif isinstance(it, list | tuple):
            for part in it:
                walk(part)
        elif isinstance(it, np.ndarray | SealedArray):
            array = np.asarray(it)
            found.update(f"{array.dtype}{array.shape}".encode())
            found.update(array.tobytes())
        else:
            found.update(repr(it).encode())

    walk(value)
    return found.hexdigest()


def main(folder: Path) -> None:
    """Go on with all of them."""
    told = {}
    for name in AGENTS:
        agent, env = begun(name, seed=99)
        agent.load_state_dict(CheckpointStore(folder / name).load().components["agent"])
        told[name] = go_on(agent, env)
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
