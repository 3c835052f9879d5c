"""Does the agent become better, and at the right thing? Takes many windows, so these checks are slow."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from optix_core.testing.agents.subject import AgentSubject
from optix_core.testing.report import Check, NotApplicable, require
from optix_core.testing.tiny_envs import StayOrLeave, TinyBox, TinyDiscrete
from optix_core.testing.windows import ask, collect, feed

SEEDS = (0, 1, 2)
WINDOWS, STEPS = 60, 128
"""How long each seed may learn: 7,680 steps."""


def _learned(subject: AgentSubject, make_env: Callable[[], gym.Env[Any, Any]], seed: int) -> tuple[Any, Any]:
    env = make_env()
    agent = subject.make(env, seed)
    for window in range(WINDOWS):
        feed(agent, collect(agent, env, STEPS, seed=1000 * seed + window, window=window))
    return agent, env


def _mean_return(agent: Any, env: gym.Env[Any, Any], episodes: int = 50) -> float:
    """Mean return of complete episodes, greedy where the agent can be."""
    returns: list[float] = []
    for episode in range(episodes):
        observation, _ = env.reset(seed=10_000 + episode)
        total, over = 0.0, False
        while not over:
            observation, reward, terminated, truncated, _ = env.step(
                ask(agent, observation, deterministic=True)[1]
            )
            total, over = total + float(reward), terminated or truncated
        returns.append(total)
    return float(np.mean(returns))


def _beats_random(subject: AgentSubject, kind: str, tiny: type[TinyDiscrete | TinyBox]) -> None:
    if kind not in subject.action_spaces or "box" not in subject.observation_spaces:
        raise NotApplicable(f"the agent does not claim {kind} actions from box observations")
    needed = (tiny.random_return + tiny.best_return) / 2
    found = [_mean_return(*_learned(subject, tiny, seed)) for seed in SEEDS]
    require(
        statistics.median(found) >= needed,
        f"after {WINDOWS * STEPS} steps of {tiny.__name__}, returns are {[round(f, 2) for f in found]} for seeds"
        f" {SEEDS}; random play earns {tiny.random_return:.2f}, the best {tiny.best_return:.2f},"
        f" needed are {needed:.2f}",
    )


def discrete(subject: AgentSubject) -> None:
    """The median of three seeds gets at least half way from random to best play on TinyDiscrete."""
    _beats_random(subject, "discrete", TinyDiscrete)


def box(subject: AgentSubject) -> None:
    """The median of three seeds gets at least half way from random to best play on TinyBox."""
    _beats_random(subject, "box", TinyBox)


def truncation(subject: AgentSubject) -> None:
    """In StayOrLeave, where only a learner that bootstraps at a time limit stays, the agent learns to stay."""
    for kind, env in subject.stay_or_leave().items():
        stays: list[bool] = []
        for seed in SEEDS:
            agent, _ = _learned(subject, lambda env=env: StayOrLeave(continuous=env.continuous), seed)
            observation, _ = env.reset(seed=0)
            stays.append(env.stays(ask(agent, observation, deterministic=True)[1]))
        require(
            sum(stays) * 2 > len(stays),
            f"{kind}: the agent leaves for 1.0 instead of staying for 0.9 a step for ever (seeds {SEEDS}: {stays});"
            " it takes a time limit for a terminal state",
        )


CHECKS: tuple[Check[AgentSubject], ...] = (
    Check(id="learning-discrete", run=discrete, summary="Learns TinyDiscrete.", slow=True),
    Check(id="learning-box", run=box, summary="Learns TinyBox.", slow=True),
    Check(
        id="learning-truncation", run=truncation, summary="Learns that a time limit ends nothing.", slow=True
    ),
)
