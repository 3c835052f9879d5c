"""The checks as pytest classes: inherit one, say what is to be checked, and every check becomes a test.

```python
class TestMyAgent(AgentConformance):
    agent = "optix-foo:SAC"
    expected_failures = {"act-batch": "rows are computed one by one, planned for 0.3"}
```
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import pytest

from optix_core.testing.agents.front import AGENT_CHECKS, make_subject
from optix_core.testing.components import (
    CALLBACK_CHECKS,
    EVALUATOR_CHECKS,
    MUTATOR_CHECKS,
    PIPELINE_CHECKS,
    TUNER_CHECKS,
    make_component_subject,
)
from optix_core.testing.report import Check, known_failures, run_check


class ConformanceWarning(UserWarning):
    """A check that does not count yet failed; it will from the version named in the message on."""


class Conformance:
    """What the conformance classes share.

    Attributes:
        expected_failures: Checks that are known to fail, id to reason. Strict: one that passes after all is a failed
            test.
    """

    checks: ClassVar[tuple[Check[Any], ...]] = ()
    expected_failures: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not cls.__module__.startswith("optix_core.testing."):
            for name in ("test_conforms", "pytest_generate_tests", "checks"):
                if name in cls.__dict__:
                    raise TypeError(
                        f"{cls.__name__} overrides {name}: checks cannot be changed or left out;"
                        " use expected_failures = {id: reason}"
                    )
        known_failures(cls.checks, cls.expected_failures)

    @classmethod
    def make_subject(cls) -> Any:
        """What the checks are asked about; made once per class."""
        raise NotImplementedError

    @classmethod
    def _subject(cls) -> Any:
        if "_made" not in cls.__dict__:
            cls._made = cls.make_subject()
        return cls._made

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One test per check; slow ones have the marker ``slow``, or are skipped if it is not registered."""
        if "conformance_check" not in metafunc.fixturenames:
            return
        markers: list[str] = metafunc.config.getini("markers")
        registered = any(line.split(":")[0].strip() == "slow" for line in markers)
        slow = (
            pytest.mark.slow
            if registered
            else pytest.mark.skip(reason="register the marker slow to run this check")
        )
        metafunc.parametrize(
            "conformance_check",
            [pytest.param(check, id=check.id, marks=[slow] if check.slow else []) for check in self.checks],
        )

    def test_conforms(self, conformance_check: Check[Any]) -> None:
        """The component passes the check, or fails it as announced."""
        result = run_check(conformance_check, self._subject(), self.expected_failures)
        if result.outcome == "skipped":
            pytest.skip(result.message)
        if result.outcome == "expected":
            pytest.xfail(result.message)
        if result.outcome == "warned":
            warnings.warn(f"{result.id}: {result.message}", ConformanceWarning, stacklevel=1)
        if result.outcome in {"failed", "unexpected"}:
            pytest.fail(f"{conformance_check.summary}\n{result.id}: {result.message}", pytrace=False)


class AgentConformance(Conformance):
    """Every check of agents as a test.

    Attributes:
        agent: A name such as ``"optix-foo:SAC"``, or a factory ``(ctx, **options) -> agent``.
        action_spaces: For a factory: the kinds of action spaces it claims.
        observation_spaces: For a factory: the kinds of observation spaces it claims.
        options: Passed to every build.
        tolerance: Absolute difference up to which weights and actions of equal seeds count as equal.
    """

    checks: ClassVar[tuple[Check[Any], ...]] = AGENT_CHECKS
    agent: ClassVar[str | Callable[..., Any]]
    action_spaces: ClassVar[Iterable[str] | None] = None
    observation_spaces: ClassVar[Iterable[str] | None] = None
    options: ClassVar[Mapping[str, Any]] = {}
    tolerance: ClassVar[float] = 0.0

    @classmethod
    def make_subject(cls) -> Any:
        """The agent's subject."""
        return make_subject(
            cls.agent,
            action_spaces=cls.action_spaces,
            observation_spaces=cls.observation_spaces,
            options=cls.options,
            tolerance=cls.tolerance,
        )


class _ComponentConformance(Conformance):
    """What the classes for other kinds share.

    Attributes:
        component: A name such as ``"optix-foo:halving"``, or a factory.
        options: Passed to every call of the factory.
    """

    kind: ClassVar[str] = ""
    component: ClassVar[str | Callable[..., Any]]
    options: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def make_subject(cls) -> Any:
        """The component's subject."""
        return make_component_subject(cls.kind, cls.component, cls.options)


class PipelineConformance(_ComponentConformance):
    """Every check of pipelines as a test; see :func:`~optix_core.testing.check_pipeline`."""

    kind, checks = "pipeline", PIPELINE_CHECKS


class TunerConformance(_ComponentConformance):
    """Every check of tuners as a test; see :func:`~optix_core.testing.check_tuner`."""

    kind, checks = "tuner", TUNER_CHECKS


class CallbackConformance(_ComponentConformance):
    """Every check of callbacks as a test; see :func:`~optix_core.testing.check_callback`."""

    kind, checks = "callback", CALLBACK_CHECKS


class EvaluatorConformance(_ComponentConformance):
    """Every check of evaluators as a test; see :func:`~optix_core.testing.check_evaluator`."""

    kind, checks = "evaluator", EVALUATOR_CHECKS


class MutatorConformance(_ComponentConformance):
    """Every check of topology mutators as a test; see :func:`~optix_core.testing.check_mutator`.

    Attributes:
        graphs: A static method that makes the network for a seed; None: ``TinyGraph.random``.
    """

    kind, checks = "topology_mutator", MUTATOR_CHECKS
    graphs: ClassVar[Callable[[int], Any] | None] = None

    @classmethod
    def make_subject(cls) -> Any:
        """The mutator's subject."""
        return make_component_subject(cls.kind, cls.component, cls.options, cls.graphs)
