"""Does the agent become better, and at the right thing? Takes many windows, so these checks are slow."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from optix_core.testing.agents.spaces import require_masks, require_memory, seen_as
from optix_core.testing.agents.subject import AgentSubject
from optix_core.testing.report import Check, CheckFailed, NotApplicable, require
from optix_core.testing.tiny_envs import StayOrLeave, TinyBox, TinyDiscrete, TinyMasked, TinyRecall
from optix_core.testing.windows import Player, as_seen, ask, collect, feed

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
        observation, info = env.reset(seed=10_000 + episode)
        total, over, player = 0.0, False, Player(agent)
        while not over:
            seen = as_seen(agent, env, observation, info)
            observation, reward, terminated, truncated, info = env.step(
                player.decide(seen, deterministic=True)[1]
            )
            total, over = total + float(reward), terminated or truncated
        returns.append(total)
    return float(np.mean(returns))


def _beats_random(
    subject: AgentSubject, kind: str, make_env: Callable[[], gym.Env[Any, Any]], observation: str = "box"
) -> None:
    if kind not in subject.action_spaces or observation not in subject.observation_spaces:
        raise NotApplicable(f"the agent does not claim {kind} actions from {observation} observations")
    tiny: Any = make_env()
    needed = (tiny.unwrapped.random_return + tiny.unwrapped.best_return) / 2
    found = [_mean_return(*_learned(subject, make_env, seed)) for seed in SEEDS]
    require(
        statistics.median(found) >= needed,
        f"after {WINDOWS * STEPS} steps of {type(tiny).__name__}, returns are {[round(f, 2) for f in found]} for seeds"
        f" {SEEDS}; random play earns {tiny.unwrapped.random_return:.2f}, the best {tiny.unwrapped.best_return:.2f},"
        f" needed are {needed:.2f}",
    )


def discrete(subject: AgentSubject) -> None:
    """The median of three seeds gets at least half way from random to best play on TinyDiscrete."""
    _beats_random(subject, "discrete", TinyDiscrete)


def box(subject: AgentSubject) -> None:
    """The median of three seeds gets at least half way from random to best play on TinyBox."""
    _beats_random(subject, "box", TinyBox)


def observations(subject: AgentSubject) -> None:
    """Every kind of observation that the agent claims tells it enough to get half way to best play."""
    kinds = [kind for kind in subject.observation_spaces if kind != "box"]
    actions = [kind for kind in ("discrete", "box") if kind in subject.action_spaces]
    if not kinds or not actions:
        raise NotApplicable("the agent claims box observations only, or neither discrete nor box actions")
    for kind in kinds:
        for action in actions[:1]:
            try:
                _beats_random(
                    subject, action, lambda kind=kind, action=action: seen_as(kind, action), observation=kind
                )
            except CheckFailed as error:
                raise CheckFailed(f"{kind} observations: {error}") from error


def masked(subject: AgentSubject) -> None:
    """An agent that understands masks gets more than half way from random legal play to the best on TinyMasked."""
    require_masks(subject)
    found = [_mean_return(*_learned(subject, TinyMasked, seed)) for seed in SEEDS]
    legal = TinyMasked().length / 2
    needed = (legal + TinyMasked.best_return) / 2
    require(
        statistics.median(found) >= needed,
        f"returns on TinyMasked are {[round(f, 2) for f in found]}; random legal play earns {legal}, needed are "
        f"{needed}",
    )


def memory(subject: AgentSubject) -> None:
    """A recurrent agent recalls a cue that it saw at the start, which no agent without memory can."""
    require_memory(subject)
    _beats_random(subject, "discrete", TinyRecall)


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
        id="learning-observations",
        run=observations,
        summary="Learns from all observations it claims.",
        slow=True,
    ),
    Check(id="learning-masked", run=masked, summary="Learns among allowed actions.", slow=True),
    Check(id="learning-memory", run=memory, summary="Learns to remember.", slow=True),
    Check(
        id="learning-truncation", run=truncation, summary="Learns that a time limit ends nothing.", slow=True
    ),
)
