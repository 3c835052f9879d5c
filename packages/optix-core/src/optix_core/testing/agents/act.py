"""Does the agent act validly, whatever it sees, and without side effects?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np

from optix_core.base_agent import ActionProbabilities, BaseAgent, BatchActing, RecurrentActing
from optix_core.testing.agents.subject import (
    AgentSubject,
    as_any,
    in_each,
    probe_observations,
    same,
    weights_of,
)
from optix_core.testing.report import Check, NotApplicable, require
from optix_core.testing.windows import accepts_greedy, stacked


def require_valid(action: Any, env: gym.Env[Any, Any], seen: str) -> None:
    """Fail unless ``action`` is a member of the environment's action space, of its dtype and shape."""
    space: Any = env.action_space
    require(space.contains(action), f"for {seen}, act returned {action!r}, which is not in {space}")
    if isinstance(space, gym.spaces.Box):
        array, wanted = np.asarray(action), as_any(space).dtype
        require(
            array.dtype == wanted,
            f"for {seen}, act returned dtype {array.dtype}; the space has {wanted}",
        )


def member(subject: AgentSubject) -> None:
    """Every action is in the action space."""

    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        del kind
        agent = subject.make(env)
        for _ in range(4):
            for observation in probe_observations(env):
                require_valid(agent.act(observation), env, "a sampled observation")

    in_each(subject.envs(), ask)


def edge_observations(subject: AgentSubject) -> None:
    """Zeros, the space's bounds and large values give valid actions."""

    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        space = env.observation_space
        if not isinstance(space, gym.spaces.Box):
            raise NotApplicable(f"{kind}: the observation space has no edges to try")
        agent = subject.make(env)
        for label, value in _edges(as_any(space)):
            require_valid(agent.act(value), env, label)

    in_each(subject.envs(), ask)


def _edges(space: Any) -> Iterator[tuple[str, Any]]:
    yield "an observation of zeros", np.zeros(space.shape, space.dtype)
    yield "the lowest observation", np.where(np.isfinite(space.low), space.low, -10.0).astype(space.dtype)
    yield "the highest observation", np.where(np.isfinite(space.high), space.high, 10.0).astype(space.dtype)
    if np.issubdtype(space.dtype, np.inexact):
        yield "an observation of 1e4", np.full(space.shape, 1e4, space.dtype)


def observation_dtypes(subject: AgentSubject) -> None:
    """Observations are accepted as float32 and as float64."""

    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        space = as_any(env.observation_space)
        if not isinstance(space, gym.spaces.Box):
            raise NotApplicable(f"{kind}: the observation space is not numeric")
        agent, shape = subject.make(env), as_any(space).shape
        for dtype in (np.float32, np.float64):
            require_valid(
                agent.act(np.full(shape, 0.5, dtype)),
                env,
                f"a {dtype.__name__} observation",
            )

    in_each(subject.envs(), ask)


def observation_unchanged(subject: AgentSubject) -> None:
    """``act`` does not write to the observation it is given."""

    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        if not isinstance(env.observation_space, gym.spaces.Box):
            raise NotApplicable(f"{kind}: the observation space is not an array")
        agent = subject.make(env)
        for observation in probe_observations(env):
            kept = observation.copy()
            agent.act(observation)
            require(
                np.array_equal(observation, kept), f"act changed its observation from {kept} to {observation}"
            )
            if isinstance(agent, BatchActing):
                batch = observation[None].copy()
                agent.act_batch(batch)
                require(np.array_equal(batch[0], kept), "act_batch changed the observations it was given")

    in_each(subject.envs(), ask)


def pure(subject: AgentSubject) -> None:
    """``act`` changes no weights."""

    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        del kind
        agent = subject.make(env)
        before = weights_of(agent)
        for _ in range(5):
            for observation in probe_observations(env):
                agent.act(observation)
        require(same(before, weights_of(agent)), "what save_weights writes differs after acting alone")

    in_each(subject.envs(), ask)


def greedy_repeats(subject: AgentSubject) -> None:
    """``act(..., deterministic=True)`` always gives the same action for the same observation."""

    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        agent = subject.make(env)
        if not accepts_greedy(agent):
            raise NotApplicable(f"{kind}: act has no keyword deterministic")
        for observation in probe_observations(env, 4):
            first = _greedy(agent, observation)
            require(
                all(np.array_equal(first, _greedy(agent, observation)) for _ in range(10)),
                "act(deterministic=True) gave different actions for one observation",
            )

    in_each(subject.envs(), ask)


def _greedy(agent: BaseAgent, observation: Any) -> Any:
    if isinstance(agent, RecurrentActing):  # every observation begins an episode
        as_any(agent).reset_memory()
    return np.array(agent.act(observation, deterministic=True))  # type: ignore[call-arg]


def batch(subject: AgentSubject) -> None:
    """``act_batch`` gives one valid policy action per row, in a fresh array, and agrees with ``act``."""

    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        agent = subject.make(env)
        if not isinstance(agent, BatchActing):
            raise NotApplicable(f"{kind}: the agent has no act_batch and env_actions")
        observations = stacked(probe_observations(env, 8))
        first = agent.act_batch(observations)
        require(len(first) == 8, f"act_batch returned {len(first)} actions for 8 observations")
        kept = np.array(first)
        agent.act_batch(observations[::-1].copy())
        require(np.array_equal(first, kept), "act_batch reused its buffer: an earlier result changed")
        for action in agent.env_actions(first):
            require_valid(action, env, "a batch of observations")
        require(np.array_equal(first, kept), "env_actions wrote to the policy actions it was given")
        if accepts_greedy(agent):
            batched = agent.env_actions(agent.act_batch(observations, deterministic=True))
            single, again = ([_greedy(agent, o) for o in probe_observations(env, 8)] for _ in range(2))
            if not all(np.array_equal(a, b) for a, b in zip(single, again, strict=True)):
                return  # act-greedy-repeats says so
            agree = all(
                np.allclose(a, b, rtol=0.0, atol=max(1e-5, subject.tolerance))
                for a, b in zip(batched, single, strict=True)
            )
            require(agree, "act_batch and act disagree on the greedy action")

    in_each(subject.envs(), ask)


def probabilities(subject: AgentSubject) -> None:
    """``action_probs`` is a distribution over the actions."""

    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        agent, space = subject.make(env), env.action_space
        if not isinstance(agent, ActionProbabilities) or not isinstance(space, gym.spaces.Discrete):
            raise NotApplicable(f"{kind}: no action probabilities to ask for")
        for observation in probe_observations(env):
            p = np.asarray(agent.action_probs(observation))
            require(
                p.shape == (int(space.n),), f"action_probs has shape {p.shape}, expected {(int(space.n),)}"
            )
            require(bool((p >= 0).all()) and abs(float(p.sum()) - 1.0) < 1e-5, f"action_probs gave {p}")

    in_each(subject.envs(), ask)


CHECKS: tuple[Check[AgentSubject], ...] = (
    Check(
        id="act-member",
        run=member,
        summary="Actions are members of the action space, of its dtype and shape.",
    ),
    Check(
        id="act-edge-observations", run=edge_observations, summary="Extreme observations give valid actions."
    ),
    Check(
        id="act-observation-dtypes", run=observation_dtypes, summary="float32 and float64 are both accepted."
    ),
    Check(
        id="act-observation-unchanged",
        run=observation_unchanged,
        summary="act does not write to its argument.",
    ),
    Check(id="act-pure", run=pure, summary="act changes no weights."),
    Check(
        id="act-greedy-repeats", run=greedy_repeats, summary="Greedy acting is a function of the observation."
    ),
    Check(id="act-batch", run=batch, summary="act_batch gives one valid action per row, in a fresh array."),
    Check(id="act-probabilities", run=probabilities, summary="action_probs is a distribution."),
)
