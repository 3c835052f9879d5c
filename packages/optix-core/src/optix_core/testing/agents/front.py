"""How the checks of agents are run: as a report, here; as tests, in :mod:`optix_core.testing.pytest_kit`."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import gymnasium as gym

from optix_core.base_agent import BaseAgent
from optix_core.plugin import AgentContext
from optix_core.testing import static_checks
from optix_core.testing.agents import (
    act,
    capabilities,
    contract,
    determinism,
    hyperparams,
    learn,
    learning,
    persistence,
    spaces,
)
from optix_core.testing.agents.subject import SPACES, AgentSubject
from optix_core.testing.report import Check, Report, run_checks

AGENT_CHECKS: tuple[Check[AgentSubject], ...] = (
    *static_checks.CHECKS,
    *contract.CHECKS,
    *act.CHECKS,
    *learn.CHECKS,
    *hyperparams.CHECKS,
    *persistence.CHECKS,
    *determinism.CHECKS,
    *capabilities.CHECKS,
    *spaces.CHECKS,
    *learning.CHECKS,
)
"""Every check of agents, in the order of reports."""

Factory = Callable[..., BaseAgent]


def subject_from_name(
    name: str, *, options: Mapping[str, Any] | None = None, tolerance: float = 0.0
) -> AgentSubject:
    """The subject behind a name such as ``"optix-foo:PPO"``.

    Raises:
        AgentResolutionError: No loaded plugin has exactly one agent of that name.
    """
    from optix_core.testing.components import find_component

    component = find_component("agent", name)
    return AgentSubject(
        name=component.qualified,
        build=_build_spec(component),
        spec=component.spec,
        record=component.record,
        action_spaces=tuple(sorted(component.spec.action_spaces)),
        observation_spaces=tuple(sorted(component.spec.observation_spaces)),
        options=dict(options or {}),
        tolerance=tolerance,
        import_name=component.qualified,
    )


def subject_from_factory(
    factory: Factory,
    *,
    action_spaces: Iterable[str] = ("discrete",),
    observation_spaces: Iterable[str] = ("box",),
    options: Mapping[str, Any] | None = None,
    tolerance: float = 0.0,
) -> AgentSubject:
    """The subject that ``factory(ctx, **options)`` builds; checks that need a spec or a plugin will be skipped.

    Raises:
        ValueError: A kind of space is unknown, or none is given.
    """
    actions, observations = tuple(action_spaces), tuple(observation_spaces)
    for kind in (*actions, *observations):
        if kind not in SPACES:
            raise ValueError(f"{kind!r} is no kind of space; there are {', '.join(SPACES)}")
    if not actions or not observations:
        raise ValueError("name at least one kind of action space and one kind of observation space")

    def build(env: gym.Env[Any, Any], seed: int, chosen: Mapping[str, Any]) -> BaseAgent:
        ctx = AgentContext(
            observation_space=env.observation_space,
            action_space=env.action_space,
            seed=seed,
            device="cpu",
            env=env,
        )
        return factory(ctx, **chosen)

    label = (
        f"{getattr(factory, '__module__', '?')}:{getattr(factory, '__qualname__', type(factory).__name__)}"
    )
    return AgentSubject(
        name=label,
        build=build,
        action_spaces=actions,
        observation_spaces=observations,
        options=dict(options or {}),
        tolerance=tolerance,
        import_name=label if _importable(label, factory) else None,
    )


def _build_spec(component: Any) -> Callable[[gym.Env[Any, Any], int, Mapping[str, Any]], BaseAgent]:
    """Build this very agent: no choosing among others, but options are checked as ``make_agent`` does."""

    def build(env: gym.Env[Any, Any], seed: int, chosen: Mapping[str, Any]) -> BaseAgent:
        from optix_core.factory import _split  # pyright: ignore[reportPrivateUsage] (the same checks of options)
        from optix_core.plugins.lookup import load_factory

        values, build_options = _split(component, None, chosen)
        ctx = AgentContext(
            observation_space=env.observation_space,
            action_space=env.action_space,
            seed=seed,
            device="cpu",
            hyperparams=values,
            env=env,
        )
        return load_factory(component)(ctx, **build_options)

    return build


def _importable(label: str, factory: object) -> bool:
    if label.startswith("__main__:"):
        return False
    try:
        return pkgutil.resolve_name(label) is factory
    except (ImportError, AttributeError, ValueError):
        return False


def make_subject(
    agent: str | Factory,
    *,
    action_spaces: Iterable[str] | None = None,
    observation_spaces: Iterable[str] | None = None,
    options: Mapping[str, Any] | None = None,
    tolerance: float = 0.0,
) -> AgentSubject:
    """The subject for a name or a factory.

    Raises:
        ValueError: Spaces are given for a name, whose spec already says them.
    """
    if isinstance(agent, str):
        if action_spaces is not None or observation_spaces is not None:
            raise ValueError(f"{agent} has a spec, which says its spaces; leave them out")
        return subject_from_name(agent, options=options, tolerance=tolerance)
    return subject_from_factory(
        agent,
        action_spaces=action_spaces or ("discrete",),
        observation_spaces=observation_spaces or ("box",),
        options=options,
        tolerance=tolerance,
    )


def check_agent(
    agent: str | Factory,
    *,
    action_spaces: Iterable[str] | None = None,
    observation_spaces: Iterable[str] | None = None,
    options: Mapping[str, Any] | None = None,
    tolerance: float = 0.0,
    expected_failures: Mapping[str, str] | None = None,
    slow: bool = False,
) -> Report:
    """Ask an agent every question of the contract.

    Args:
        agent: A name such as ``"optix-foo:PPO"``, or a factory ``(ctx, **options) -> agent``.
        action_spaces: For a factory: the kinds it claims, ``("discrete",)`` by default.
        observation_spaces: For a factory: the kinds it claims, ``("box",)`` by default.
        options: Passed to every build, for example ``{"hidden_sizes": (8,)}`` to make the checks quick.
        tolerance: Absolute difference up to which weights and actions of equal seeds count as equal.
        expected_failures: Checks that are known to fail, id to reason. One that passes after all makes the report fail.
        slow: Include the checks of learning, which take minutes with large networks.

    Returns:
        The report; :attr:`Report.ok` says whether the agent conforms.

    Raises:
        ValueError: ``expected_failures`` names an unknown check or gives no reason.
        AgentResolutionError: No loaded plugin has an agent of that name.
    """
    subject = make_subject(
        agent,
        action_spaces=action_spaces,
        observation_spaces=observation_spaces,
        options=options,
        tolerance=tolerance,
    )
    return run_checks(subject.name, AGENT_CHECKS, subject, expected_failures=expected_failures, slow=slow)
