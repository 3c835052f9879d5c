"""Does the agent learn from any window that a pipeline may hand it, and from the right numbers in it?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from optix_core.base_agent import BaseAgent
from optix_core.testing.agents.subject import (
    WINDOW,
    AgentSubject,
    all_finite,
    as_any,
    in_each,
    probe_observations,
    same,
    weights_of,
)
from optix_core.testing.report import Check, CheckFailed, NotApplicable, require
from optix_core.testing.windows import copy_window, feed, with_ends
from optix_core.types import EpisodeData


def is_float(value: Any) -> bool:
    """Whether ``value`` is a float of Python or numpy."""
    return isinstance(value, float | np.floating)


def diagnostics(subject: AgentSubject) -> None:
    """``learn`` returns a mapping from names to values whose floats are finite."""

    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        del env
        agent = subject.make(subject.envs()[kind])
        for index in range(3):
            found: Any = feed(agent, subject.window(kind, seed=index))
            if not isinstance(found, Mapping):
                raise CheckFailed(f"learn returned {type(found).__name__}, not a mapping")
            for name, value in as_any(found).items():
                require(isinstance(name, str), f"learn returned the key {name!r}, which is no string")
                if is_float(value):
                    require(math.isfinite(value), f"learn returned {name} = {value} for an ordinary window")

    in_each(subject.envs(), ask)


def changes_weights(subject: AgentSubject) -> None:
    """Learning changes what ``save_weights`` writes."""

    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        del env
        try:
            subject.windows_to_change(kind)
        except NotApplicable as reason:
            raise CheckFailed(str(reason)) from None

    in_each(subject.learning_envs(), ask)


def episode_shapes(subject: AgentSubject) -> None:
    """Windows with any pattern of episode ends are learned from, and the agent still acts afterwards."""
    last = WINDOW - 1
    patterns: dict[str, dict[int, str]] = {
        "no episode end": {},
        "terminal states only": {3: "terminated", 17: "terminated"},
        "time limits only": {3: "truncated", 17: "truncated"},
        "both kinds": {3: "terminated", 17: "truncated", 20: "both"},
        "an end at the last step": {last: "terminated"},
        "a time limit at the last step": {last: "truncated"},
        "episodes of one step": dict.fromkeys(range(WINDOW), "terminated"),
        "episodes of odd length": dict.fromkeys(range(2, WINDOW, 3), "truncated"),
    }

    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        agent = subject.make(env)
        for label, ends in patterns.items():
            feed(agent, with_ends(subject.window(kind), ends))
            require(all_finite(weights_of(agent)), f"weights are not finite after a window with {label}")
            _require_alive(agent, env, f"a window with {label}")

    in_each(subject.envs(), ask)


def window_lengths(subject: AgentSubject) -> None:
    """Windows of any length are learned from, down to two steps."""

    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        agent = subject.make(env)
        for steps in (64, 7, 2):
            feed(agent, subject.window(kind, steps=steps))
            require(all_finite(weights_of(agent)), f"weights are not finite after a window of {steps} steps")

    in_each(subject.envs(), ask)


def data_unchanged(subject: AgentSubject) -> None:
    """``learn`` does not write to the window it is given."""

    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        agent, data = subject.make(env), subject.window(kind)
        kept = copy_window(data)
        feed(agent, data)
        changed = [name for name, value in copy_window(data).items() if not np.array_equal(value, kept[name])]
        require(not changed, f"learn changed {', '.join(changed)} of its window")

    in_each(subject.envs(), ask)


def _require_alive(agent: BaseAgent, env: gym.Env[Any, Any], what: str) -> None:
    """Fail unless the agent still acts, with numbers; whether actions are in the space is asked elsewhere."""
    action = np.asarray(agent.act(probe_observations(env, 1)[0]))
    numeric = np.issubdtype(action.dtype, np.number)
    require(numeric and bool(np.isfinite(action).all()), f"after {what}, act returned {action!r}")


def zero_rewards(subject: AgentSubject) -> None:
    """A window without any reward leaves weights finite (advantages have no spread there)."""
    _finite_after(subject, 0.0)


def huge_rewards(subject: AgentSubject) -> None:
    """Rewards of 1e6 leave weights finite and actions valid."""
    _finite_after(subject, 1e6)


def _finite_after(subject: AgentSubject, scale: float) -> None:
    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        agent = subject.make(env)
        for index in range(3):
            data = subject.window(kind, seed=index)
            signs = np.where(np.arange(data.length) % 3 == 0, 1.0, -1.0)
            found = feed(agent, with_ends(data, {8: "terminated", 20: "truncated"}, rewards=scale * signs))
            for name, value in found.items():
                if is_float(value):
                    require(
                        math.isfinite(value),
                        f"with rewards of size {scale:g}, learn returned {name} = {value}",
                    )
        require(all_finite(weights_of(agent)), f"with rewards of size {scale:g}, weights are not finite")
        _require_alive(agent, env, f"rewards of size {scale:g}")

    in_each(subject.envs(), ask)


ENDS = (5, 14, 23)
"""Where the windows below end an episode."""


def truncation(subject: AgentSubject) -> None:
    """Truncation is not termination: the same window with one or the other leads to different weights."""

    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        del env
        require(
            _tells_ends_apart(subject, kind),
            "windows that differ only in terminated versus truncated led to equal weights: the value of the state that"
            " follows a time limit is not used (mask the bootstrap with terminated only)",
        )

    in_each(subject.learning_envs(), ask)


def _tells_ends_apart(subject: AgentSubject, kind: str) -> bool:
    """Whether windows that differ only in terminated versus truncated lead to different weights."""

    def ending(how: str) -> Any:
        def change(data: EpisodeData) -> EpisodeData:
            return with_ends(data, dict.fromkeys(ENDS, how), rewards=_uneven(data))

        return change

    cut = weights_of(subject.same_windows(kind, ending("truncated")))
    died = weights_of(subject.same_windows(kind, ending("terminated")))
    return not same(cut, died)


def true_successors(subject: AgentSubject) -> None:
    """At a time limit, what counts is ``boundary_observations``, not the next episode's first observation."""

    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        space: Any = env.observation_space
        if not isinstance(space, gym.spaces.Box):
            raise NotApplicable("the observation space is not numeric")
        if not _tells_ends_apart(subject, kind):
            raise NotApplicable("no successor is used at a time limit; see learn-truncation")
        box = as_any(space)
        low, high = box.low, box.high

        def following(what: Any) -> Any:
            def change(data: EpisodeData) -> EpisodeData:
                return with_ends(
                    data, dict.fromkeys(ENDS, "truncated"), rewards=_uneven(data), successor=what
                )

            return change

        one = weights_of(subject.same_windows(kind, following(low)))
        other = weights_of(subject.same_windows(kind, following(high)))
        require(
            not same(one, other),
            "windows that differ only in what truly followed a time limit led to equal weights"
            " (use EpisodeData.next_observations)",
        )

    in_each(subject.learning_envs(), ask)


def _uneven(data: EpisodeData) -> Any:
    """Rewards that make every advantage different."""
    return np.sin(np.arange(data.length, dtype=np.float64)) + 1.5


CHECKS: tuple[Check[AgentSubject], ...] = (
    Check(id="learn-diagnostics", run=diagnostics, summary="learn returns named values with finite floats."),
    Check(id="learn-changes-weights", run=changes_weights, summary="Learning changes the weights."),
    Check(
        id="learn-episode-shapes",
        run=episode_shapes,
        summary="Any pattern of episode ends can be learned from.",
    ),
    Check(
        id="learn-window-lengths", run=window_lengths, summary="Windows of any length can be learned from."
    ),
    Check(id="learn-data-unchanged", run=data_unchanged, summary="learn does not write to the window."),
    Check(
        id="learn-zero-rewards", run=zero_rewards, summary="Windows without reward leave everything finite."
    ),
    Check(id="learn-huge-rewards", run=huge_rewards, summary="Huge rewards leave everything finite."),
    Check(id="learn-truncation", run=truncation, summary="Truncation is told from termination."),
    Check(
        id="learn-true-successors",
        run=true_successors,
        summary="The successor at a time limit is the true one.",
    ),
)
