"""Is it an agent, and can it be built for what it claims and only for that?"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import gymnasium as gym

from optix_core.base_agent import BaseAgent
from optix_core.errors import OptixError
from optix_core.testing.agents.subject import SPACES, AgentSubject, in_each
from optix_core.testing.report import Check, CheckFailed, NotApplicable, require
from optix_core.testing.tiny_envs import SpaceProbe
from optix_core.testing.windows import ask as decide

METHODS: dict[str, int] = {
    "act": 1,
    "learn": 1,
    "get_hyperparams": 0,
    "set_hyperparams": 1,
    "save_weights": 1,
    "load_weights": 1,
}
"""The contract's methods and how many arguments the loop passes by position."""


def methods(subject: AgentSubject) -> None:
    """The agent derives from BaseAgent, or has its six methods with fitting signatures."""

    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        del kind
        agent = subject.make(env)
        for name, count in METHODS.items():
            method = getattr(agent, name, None)
            require(callable(method), f"{type(agent).__name__} has no method {name}")
            try:
                inspect.signature(method).bind(*[None] * count)  # pyright: ignore[reportArgumentType]
            except TypeError as error:
                raise CheckFailed(f"{name} cannot be called with {count} arguments: {error}") from error
        if not isinstance(agent, BaseAgent):  # pyright: ignore[reportUnnecessaryIsInstance] (a factory may return anything)
            lacking = [
                n for n in ("is_on_policy", "teardown", "default_param_bounds") if not hasattr(agent, n)
            ]
            require(not lacking, f"{type(agent).__name__} is no BaseAgent and lacks {', '.join(lacking)}")

    in_each(subject.envs(), ask)


def _claimed(subject: AgentSubject) -> Iterator[tuple[str, str]]:
    for observation in subject.observation_spaces:
        for action in subject.action_spaces:
            yield observation, action


def builds(subject: AgentSubject) -> None:
    """It is built, and acts validly, for every claimed pair of spaces."""
    for observation, action in _claimed(subject):
        env = SpaceProbe(SPACES[observation](), SPACES[action]())
        label = f"{observation} observations and {action} actions"
        try:
            agent = subject.make(env)
            seen, _ = env.reset(seed=0)
            acted, in_space = decide(agent, seen)
        except Exception as error:
            raise CheckFailed(f"with {label}: {type(error).__name__}: {error}") from error
        require(
            env.action_space.contains(in_space), f"with {label}: acted {acted!r}, which is {in_space!r} there"
        )


def refuses_spaces(subject: AgentSubject) -> None:
    """It refuses every other action space with one of optix's errors."""
    others = [kind for kind in SPACES if kind not in subject.action_spaces]
    if not others:
        raise NotApplicable("it claims every action space")
    for kind in others:
        env = SpaceProbe(SPACES[subject.observation_spaces[0]](), SPACES[kind]())
        try:
            subject.make(env)
        except OptixError:
            continue
        except Exception as error:
            raise CheckFailed(
                f"a {kind} action space raised {type(error).__name__} ({error}); raise SpaceError"
            ) from error
        raise CheckFailed(
            f"it was built for a {kind} action space, which it does not claim; raise SpaceError"
        )


def refuses_options(subject: AgentSubject) -> None:
    """An unknown option is refused."""
    env = next(iter(subject.envs().values()))
    try:
        subject.build(env, 0, {**subject.options, "no_such_option": 1})
    except (TypeError, OptixError) as error:
        require("no_such_option" in str(error), f"an unknown option was refused without naming it: {error}")
        return
    raise CheckFailed("the unknown option no_such_option was accepted")


def on_policy(subject: AgentSubject) -> None:
    """``is_on_policy`` is a truth value, and that of the spec."""

    def ask(kind: str, env: gym.Env[Any, Any]) -> None:
        del kind
        agent: Any = subject.make(env)
        says: Any = agent.is_on_policy
        require(isinstance(says, bool), f"is_on_policy is {says!r}")
        if subject.spec is not None:
            require(
                says == subject.spec.on_policy,
                f"is_on_policy is {says}, but the spec says {subject.spec.on_policy}",
            )

    in_each(subject.envs(), ask)


CHECKS: tuple[Check[AgentSubject], ...] = (
    Check(id="contract-methods", run=methods, summary="The six methods exist with fitting signatures."),
    Check(id="contract-builds", run=builds, summary="Every claimed pair of spaces can be built for."),
    Check(id="contract-refuses-spaces", run=refuses_spaces, summary="Other action spaces are refused."),
    Check(id="contract-refuses-options", run=refuses_options, summary="Unknown options are refused."),
    Check(id="contract-on-policy", run=on_policy, summary="is_on_policy agrees with the spec."),
)
