"""How the checks of every kind of component are run, by name or from a factory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from optix_core.plugins.lookup import load_factory
from optix_core.plugins.records import Component
from optix_core.plugins.registry import default_registry
from optix_core.testing import mutator_checks, observer_checks, pipeline_checks, static_checks, tuner_checks
from optix_core.testing.report import Check, Report, run_checks
from optix_core.testing.subjects import ComponentSubject

Checks = tuple[Check[Any], ...]
What = str | Callable[..., Any]

PIPELINE_CHECKS: Checks = (*static_checks.CHECKS, *pipeline_checks.CHECKS)
TUNER_CHECKS: Checks = (*static_checks.CHECKS, *tuner_checks.CHECKS)
CALLBACK_CHECKS: Checks = (*static_checks.CHECKS, *observer_checks.CALLBACKS)
EVALUATOR_CHECKS: Checks = (*static_checks.CHECKS, *observer_checks.EVALUATORS)
MUTATOR_CHECKS: Checks = (*static_checks.CHECKS, *mutator_checks.CHECKS)

CHECKS_BY_KIND: dict[str, Checks] = {
    "pipeline": PIPELINE_CHECKS,
    "tuner": TUNER_CHECKS,
    "callback": CALLBACK_CHECKS,
    "evaluator": EVALUATOR_CHECKS,
    "topology_mutator": MUTATOR_CHECKS,
}


def find_component(kind: str, name: str) -> Component[Any]:
    """The component that ``name`` means, from the process's registry.

    Raises:
        PluginError: There is none, or more than one.
    """
    return default_registry().find(kind, name)


def make_component_subject(
    kind: str,
    what: What,
    options: Mapping[str, Any] | None = None,
    graphs: Callable[[int], Any] | None = None,
) -> ComponentSubject:
    """The subject for a name or a factory."""
    chosen = dict(options or {})
    if not isinstance(what, str):
        name = f"{getattr(what, '__module__', '?')}:{getattr(what, '__qualname__', type(what).__name__)}"
        return ComponentSubject(name=name, factory=what, options=chosen, graphs=graphs)
    component = find_component(kind, what)
    return ComponentSubject(
        name=component.qualified,
        factory=load_factory(component),
        spec=component.spec,
        record=component.record,
        options=chosen,
        graphs=graphs,
    )


def _check(
    kind: str,
    what: What,
    options: Mapping[str, Any] | None,
    expected: Mapping[str, str] | None,
    *,
    slow: bool,
    graphs: Callable[[int], Any] | None = None,
) -> Report:
    subject = make_component_subject(kind, what, options, graphs)
    return run_checks(subject.name, CHECKS_BY_KIND[kind], subject, expected_failures=expected, slow=slow)


def check_pipeline(
    pipeline: What,
    *,
    options: Mapping[str, Any] | None = None,
    expected_failures: Mapping[str, str] | None = None,
    slow: bool = False,
) -> Report:
    """Ask a pipeline every question of its contract.

    Args:
        pipeline: A name such as ``"optix-foo:batch"``, or a factory ``(env, *, window_size, seed) -> pipeline``; of the
            keyword arguments it gets those that it has. A vectorized one gets a list of one function that makes the
            environment.
        options: Passed to every call.
        expected_failures: Checks that are known to fail, id to reason.
        slow: Include slow checks.

    Raises:
        ValueError: ``expected_failures`` names an unknown check or gives no reason.
        PluginError: There is no such component.
    """
    return _check("pipeline", pipeline, options, expected_failures, slow=slow)


def check_tuner(
    tuner: What,
    *,
    options: Mapping[str, Any] | None = None,
    expected_failures: Mapping[str, str] | None = None,
    slow: bool = False,
) -> Report:
    """Ask a tuner; a factory is called with those of ``param_bounds``, ``log_params`` and ``seed`` that it has.

    The other arguments and errors are those of :func:`check_pipeline`.
    """
    return _check("tuner", tuner, options, expected_failures, slow=slow)


def check_callback(
    callback: What,
    *,
    options: Mapping[str, Any] | None = None,
    expected_failures: Mapping[str, str] | None = None,
    slow: bool = False,
) -> Report:
    """Ask a callback; a factory is called with ``options`` only. Otherwise as :func:`check_pipeline`."""
    return _check("callback", callback, options, expected_failures, slow=slow)


def check_evaluator(
    evaluator: What,
    *,
    options: Mapping[str, Any] | None = None,
    expected_failures: Mapping[str, str] | None = None,
    slow: bool = False,
) -> Report:
    """Ask an evaluator; a factory is called with ``options`` only. Otherwise as :func:`check_pipeline`."""
    return _check("evaluator", evaluator, options, expected_failures, slow=slow)


def check_mutator(
    mutator: What,
    *,
    options: Mapping[str, Any] | None = None,
    graphs: Callable[[int], Any] | None = None,
    expected_failures: Mapping[str, str] | None = None,
    slow: bool = False,
) -> Report:
    """Ask a topology mutator every question of its contract.

    Args:
        mutator: A name such as ``"optix-foo:mutator"``, or a factory without arguments.
        options: Passed to every call of the factory.
        graphs: A :class:`~optix_core.topology.MutableGraph` for a seed, the same for the same seed; None:
            :meth:`~optix_core.testing.TinyGraph.random`.
        expected_failures: Checks that are known to fail, id to reason.
        slow: Include slow checks.

    Raises:
        ValueError: ``expected_failures`` names an unknown check or gives no reason.
        PluginError: There is no such component.
    """
    return _check("topology_mutator", mutator, options, expected_failures, slow=slow, graphs=graphs)


def check_component(kind: str, name: str) -> Report | None:
    """The report for a component of any kind, None where there are no checks for its kind."""
    if kind == "agent":
        from optix_core.testing.agents.front import check_agent

        return check_agent(name)
    return _check(kind, name, None, None, slow=False) if kind in CHECKS_BY_KIND else None
