"""What is learned on actors, and how. One home for the script that trains, the one that asks, and the page."""

from __future__ import annotations

MODES = {
    "asynchronous": {"backend": "local", "sync": "async"},
    "lockstep": {"backend": "local", "sync": "lockstep"},
    "one process": {"backend": "inline", "sync": "lockstep"},
}
"""The last one is the synchronous learner: the same updates, and nothing is collected meanwhile."""

TASKS = {
    "cartpole": {
        "title": "CartPole, PPO's networks, V-trace",
        "env": "CartPole-v1",
        "algorithm": "PPO",
        "agent": {"learning_rate": 3e-3, "learning_rate_decay_steps": 300_000},
        "collection": {"n_actors": 2, "envs_per_actor": 8, "trajectory_len": 32},
        "learner": "vtrace",
        "steps": 300_000,
        "level": 475.0,
        "modes": ["asynchronous", "lockstep", "one process"],
    },
    "cartpole-without-velocities": {
        "title": "CartPole without velocities, recurrent, V-trace",
        "env": "optix/CartPoleNoVel-v0",
        "algorithm": "RecurrentPPO",
        "agent": {"learning_rate": 3e-3, "learning_rate_decay_steps": 300_000},
        "collection": {"n_actors": 2, "envs_per_actor": 8, "trajectory_len": 32},
        "learner": "vtrace",
        "steps": 300_000,
        "level": 450.0,
        "modes": ["asynchronous"],
    },
    "pendulum": {
        "title": "Pendulum, Gaussian PPO's own updates on the actors' windows",
        "env": "Pendulum-v1",
        "algorithm": "GaussianPPO",
        "agent": {
            "learning_rate": 1e-3,
            "gamma": 0.9,
            "entropy_coef": 0.0,
            "n_epochs": 10,
            "minibatch_size": 64,
        },
        "collection": {"n_actors": 2, "envs_per_actor": 2, "trajectory_len": 512, "slots_per_actor": 1},
        "learner": "agent",
        "steps": 100_000,
        "level": -250.0,
        "modes": ["asynchronous", "one process"],
    },
}
SEEDS = 5
EPISODES = 100


def job_of(name, mode, seed):
    """Everything that decides a result."""
    task = TASKS[name]
    kept = {k: v for k, v in task.items() if k not in {"title", "level", "modes"}}
    return {**kept, "collection": {**task["collection"], **MODES[mode]}, "episodes": EPISODES, "seed": seed}
