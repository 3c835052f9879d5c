"""Does the seed, and nothing else, decide what happens?"""

from __future__ import annotations

import random
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from optix_core.base_agent import BaseAgent
from optix_core.testing.agents.subject import (
    WINDOW,
    AgentSubject,
    Contents,
    in_each,
    probe_observations,
    same,
    same_actions,
    weights_of,
)
from optix_core.testing.report import Check, NotApplicable, require
from optix_core.testing.windows import collect, feed

Run = tuple[list[NDArray[Any]], Contents]
EXTRA = 2


def _step(agent: BaseAgent, env: gym.Env[Any, Any], index: int) -> list[NDArray[Any]]:
    """Collect a window, learn from it, and sample a few actions."""
    feed(agent, collect(agent, env, WINDOW, seed=index, window=index))
    return [np.asarray(agent.act(o)) for o in probe_observations(env, 4)]


def _run(subject: AgentSubject, kind: str, seed: int, windows: int) -> Run:
    env = subject.envs()[kind]
    agent = subject.make(env, seed)
    actions = [np.asarray(agent.act(o)) for o in probe_observations(env)]
    for index in range(windows):
        actions += _step(agent, env, index)
    return actions, weights_of(agent)


def _require_equal(subject: AgentSubject, left: Run, right: Run, why: str) -> None:
    require(same_actions(left[0], right[0], subject.tolerance), f"actions differ {why}")
    require(same(left[1], right[1], subject.tolerance), f"weights differ {why}")


def seeded(subject: AgentSubject) -> None:
    """The same seed twice gives the same actions and weights."""

    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        del env
        windows = subject.windows_to_change(kind) + EXTRA
        runs: list[Run] = []
        kept = random.getstate(), np.random.get_state()  # noqa: NPY002 (the global generator is the subject here)
        try:
            for _ in range(2):
                random.seed(0)
                np.random.seed(0)  # noqa: NPY002
                runs.append(_run(subject, kind, 3, windows))
        finally:
            random.setstate(kept[0])
            np.random.set_state(kept[1])  # noqa: NPY002
        _require_equal(subject, runs[0], runs[1], "between two runs with one seed")

    in_each(subject.learning_envs(), ask)


def seed_matters(subject: AgentSubject) -> None:
    """Another seed gives another sequence of sampled actions or other weights."""

    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        del env
        runs = [_run(subject, kind, seed, subject.windows_to_change(kind)) for seed in (3, 4)]
        differ = not same_actions(runs[0][0], runs[1][0]) or not same(runs[0][1], runs[1][1])
        require(differ, "seeds 3 and 4 led to the same actions and weights: the seed is not used")

    in_each(subject.learning_envs(), ask)


def _globals() -> tuple[Any, Any]:
    """The states of Python's and numpy's global generators, to be compared."""
    state: Any = np.random.get_state()  # noqa: NPY002 (the global generator is the subject here)
    return random.getstate(), (state[1].tobytes(), *state[2:])


def global_generators(subject: AgentSubject) -> None:
    """Building, acting and learning leave Python's and numpy's global generators alone."""

    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        before = _globals()
        agent = subject.make(env)
        for index in range(subject.windows_to_change(kind)):
            _step(agent, env, index)
        python, numpy = (a == b for a, b in zip(before, _globals(), strict=True))
        require(python, "Python's global random generator was used or seeded")
        require(numpy, "numpy's global random generator was used or seeded")

    in_each(subject.learning_envs(), ask)


def isolated(subject: AgentSubject) -> None:
    """An agent does the same whether or not another one lives and learns beside it."""

    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        windows = subject.windows_to_change(kind) + EXTRA
        alone = _run(subject, kind, 3, windows)
        if not same_actions(alone[0], _run(subject, kind, 3, windows)[0], subject.tolerance):
            raise NotApplicable("the agent is not deterministic on its own; see determinism-seed")
        agent, neighbour, theirs = subject.make(env, 3), subject.make(env, 9), subject.envs()[kind]
        actions = [np.asarray(agent.act(o)) for o in probe_observations(env)]
        for index in range(windows):
            _step(neighbour, theirs, 50 + index)
            actions += _step(agent, env, index)
        _require_equal(subject, alone, (actions, weights_of(agent)), "when a second agent learns beside it")

    in_each(subject.learning_envs(), ask)


CHECKS: tuple[Check[AgentSubject], ...] = (
    Check(id="determinism-seed", run=seeded, summary="One seed, one result."),
    Check(id="determinism-seed-matters", run=seed_matters, summary="Different seeds differ."),
    Check(
        id="determinism-global-generators", run=global_generators, summary="Global generators are left alone."
    ),
    Check(
        id="determinism-isolated", run=isolated, summary="Agents in one process don't influence each other."
    ),
)
