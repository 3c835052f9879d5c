"""What is measured: tasks, arms, bounds. Everything here is plain data.

Trial runs of single seeds shaped the faults and the choice of the area for comparisons (docs/autonomy.md says how). The
bounds are not moved when a result misses them; a missed bound is published as missed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

EPISODES = 100
"""Fresh greedy episodes behind every score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """An environment and the agent whose defaults are used in it.

    Attributes:
        name: What ``--tasks`` takes.
        env: Its id.
        algorithm: The agent.
        budget: Steps that rl-baselines3-zoo trains this algorithm for here.
        cap: Steps after which a run ends in any case.
        random: Mean return of uniformly random actions over 300 to 1,000 episodes.
    """

    name: str
    env: str
    algorithm: str
    budget: int
    cap: int
    random: float


STOPPING = (
    Task(name="cartpole", env="CartPole-v1", algorithm="PPO", budget=100_000, cap=300_000, random=22.2),
    Task(name="acrobot", env="Acrobot-v1", algorithm="PPO", budget=1_000_000, cap=1_000_000, random=-498.1),
    Task(name="pendulum", env="Pendulum-v1", algorithm="PPO", budget=100_000, cap=300_000, random=-1230.7),
    Task(
        name="lunar-lander",
        env="LunarLander-v3",
        algorithm="PPO",
        budget=1_000_000,
        cap=1_000_000,
        random=-181.7,
    ),
    Task(
        name="mountain-car-continuous",
        env="MountainCarContinuous-v0",
        algorithm="SAC",
        budget=50_000,
        cap=100_000,
        random=-33.3,
    ),
)
STOPPING_SEEDS = 5
LEAST_SHARE = 0.95
"""Of the way from random to the best that the same run ever reaches when nothing stops it."""
MOST_FALSE_STOPS = 1 / 20

STARTS: dict[str, dict[str, dict[str, Any]]] = {
    "cartpole": {
        "good": {},
        "lr-high": {"learning_rate": 9e-3},
        "lr-low": {"learning_rate": 1e-5},
        "entropy-high": {"entropy_coef": 0.3},
        "gamma-low": {"gamma": 0.8},
    },
    "pendulum": {
        "good": {},
        "lr-high": {"learning_rate": 9e-3},
        "lr-low": {"learning_rate": 1e-5},
        "entropy-high": {"entropy_coef": 0.3},
        "gamma-low": {"gamma": 0.5},
    },
}
"""Deliberately bad values, and none; the learning rates are 30 times the default of 3e-4, and a thirtieth of it."""
REQUIRED_STARTS = ("lr-high", "lr-low")
ARMS = ("fixed", "default", "sham", "selection", "walk")
TO_BEAT = ("fixed", "sham", "walk")
"""By the area under the curve of validation scores: at the end a task with a ceiling tells the arms apart no more."""
TUNING_BUDGETS = 2
"""All arms may use so many times the budget, branches and probes included."""
TUNING_SEEDS = 5
LEAST_RECOVERY = 0.8
MOST_COST = 0.1
"""What the default tuner may lose where the start was good, of score and area, as a share of the tuned way."""

FAULTS = ("weights", "learning-rate")
ROLLBACK_SEEDS = 25
"""For each fault."""
MOST_EVALUATIONS = 5
"""Between the collapse and the rollback."""
QUIET_RUNS = 200
QUIET_WINDOWS = 30
MOST_FALSE_ROLLBACKS = QUIET_RUNS * QUIET_WINDOWS / 500
"""The stated rate: at most one in 500 evaluations."""

SPAWNING_TASKS = ("pendulum", "lunar-lander")
SPAWNING_STEPS = {"pendulum": 300_000, "lunar-lander": 600_000}
SPAWNING_ARMS = ("stop", "spawn", "restart")
"""End at convergence; go on with variants of the best policy; begin anew with another seed (both use up the steps)."""
SPAWNING_SEEDS = 5

PROTOCOLS = ("stopping", "tuning", "rollback", "quiet", "spawning")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One process's work.

    Attributes:
        protocol: Which.
        task: Name of the task, or of the kind of fault.
        arm: What differs between the runs that are compared.
        seed: Equal seeds are paired.
        settings: Everything else that decides the result.
    """

    protocol: str
    task: str
    arm: str
    seed: int
    settings: dict[str, Any] = field(default_factory=dict)


def jobs_of(protocol: str, seeds: int | None = None) -> list[Job]:
    """All jobs of one protocol, seed by seed, so that an interrupted benchmark has whole pairs."""
    makers = {
        "stopping": _stopping,
        "tuning": _tuning,
        "rollback": _rollback,
        "quiet": _quiet,
        "spawning": _spawning,
    }
    return makers[protocol](seeds)


def _stopping(seeds: int | None) -> list[Job]:
    return [
        Job(
            protocol="stopping",
            task=task.name,
            arm=arm,
            seed=seed,
            settings={"env": task.env, "algorithm": task.algorithm, "steps": task.cap},
        )
        for seed in range(seeds or STOPPING_SEEDS)
        for task in STOPPING
        for arm in ("optix", "never")
    ]


def _tuning(seeds: int | None) -> list[Job]:
    tasks = {task.name: task for task in STOPPING}
    found = []
    for seed in range(seeds or TUNING_SEEDS):
        for name, starts in STARTS.items():
            task = tasks[name]
            common = {"env": task.env, "algorithm": task.algorithm}
            found.append(
                Job(
                    protocol="tuning",
                    task=f"{name}/good",
                    arm="tuned",
                    seed=seed,
                    settings={**common, "steps": task.budget, "agent": {}, "tuner": "fixed"},
                )
            )
            found += [
                Job(
                    protocol="tuning",
                    task=f"{name}/{start}",
                    arm=arm,
                    seed=seed,
                    settings={
                        **common,
                        "steps": TUNING_BUDGETS * task.budget,
                        "agent": values,
                        "tuner": arm,
                    },
                )
                for start, values in starts.items()
                for arm in ARMS
            ]
    return found


def _rollback(seeds: int | None) -> list[Job]:
    return [
        Job(
            protocol="rollback",
            task=fault,
            arm="optix",
            seed=seed,
            settings={"env": "CartPole-v1", "algorithm": "PPO", "steps": 150_000, "reached": 400.0},
        )
        for seed in range(seeds or ROLLBACK_SEEDS)
        for fault in FAULTS
    ]


def _quiet(seeds: int | None) -> list[Job]:
    return [
        Job(
            protocol="quiet",
            task="cartpole",
            arm="optix",
            seed=block,
            settings={"runs": QUIET_RUNS // 10, "windows": QUIET_WINDOWS},
        )
        for block in range(seeds or 10)
    ]


def _spawning(seeds: int | None) -> list[Job]:
    tasks = {task.name: task for task in STOPPING}
    return [
        Job(
            protocol="spawning",
            task=name,
            arm=arm,
            seed=seed,
            settings={
                "env": tasks[name].env,
                "algorithm": tasks[name].algorithm,
                "steps": SPAWNING_STEPS[name],
            },
        )
        for seed in range(seeds or SPAWNING_SEEDS)
        for name in SPAWNING_TASKS
        for arm in SPAWNING_ARMS
    ]
