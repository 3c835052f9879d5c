"""What does a plugin say about each component it offers?

A *spec* is frozen data and a factory string. Listing, choosing, checking options and drawing tuning bounds need nothing
else, so a framework is imported only when something is built.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

from optix_core.plugins.component import CAPABILITIES, NAME, WORD, ComponentSpec
from optix_core.plugins.hyper import SpecError
from optix_core.plugins.topology_specs import GrowthGateSpec, MutatorSpec, NeuronTypeSpec, PlasticityRuleSpec

SPACE_KINDS = ("box", "dict", "discrete", "multi_binary", "multi_discrete", "tuple")
"""Kinds of spaces that a spec can name."""
EVENTS = (
    "on_loop_start", "on_loop_stop", "on_episode_end", "on_improvement", "on_plateau", "on_dormant",
    "on_degradation", "on_hyperparam_update",
)  # fmt: skip
"""Events of a :class:`~optix_core.loop_callback.LoopCallback`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSpec(ComponentSpec):
    """An agent; its factory is ``build(ctx: AgentContext, **options) -> BaseAgent``.

    Attributes:
        algorithm: The algorithm it implements, another name that users can ask for; its own name if empty.
        answers_to: Further algorithm names it accepts.
        framework: ``"torch"``, ``"tf"``, ``"jax"``, ``"numpy"`` or another lower-case word.
        action_spaces: Kinds of action spaces it can act in; see :data:`SPACE_KINDS`.
        observation_spaces: Kinds of observation spaces it can read.
        policy: ``"stochastic"`` or ``"deterministic"``.
        on_policy: Learns from data of its current policy only; decides the default window size.
        default_rank: The agent with the largest rank is taken where several fit; None: only when named.
    """

    kind: ClassVar[str] = "agent"

    algorithm: str = ""
    answers_to: tuple[str, ...] = ()
    framework: str
    action_spaces: frozenset[str]
    observation_spaces: frozenset[str] = frozenset({"box"})
    policy: Literal["stochastic", "deterministic"] = "stochastic"
    on_policy: bool = True
    default_rank: int | None = None

    def __post_init__(self) -> None:
        ComponentSpec.__post_init__(self)
        self._set("algorithm", self.algorithm or self.name)
        self._set("answers_to", self._texts("answers_to"))
        for name in (self.algorithm, *self.answers_to):
            if not NAME.fullmatch(name):
                raise self._error(f"{name!r} is no name for an algorithm: letters, digits and _ . + - only")
        if not isinstance(self.framework, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", self.framework):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise self._error(
                f"framework is {self.framework!r}; it must be a lower-case word such as 'torch'"
            )
        self._words("action_spaces", SPACE_KINDS, needed=True)
        self._words("observation_spaces", SPACE_KINDS, needed=True)
        self._one_of("policy", ("stochastic", "deterministic"))
        self._flag("on_policy")
        rank = cast("object", self.default_rank)
        if rank is not None and (isinstance(rank, bool) or not isinstance(rank, int)):
            raise self._error(f"default_rank is {rank!r}; it must be an int or None")

    @property
    def names(self) -> tuple[str, ...]:
        """Every name it can be asked for, its own first."""
        return (self.name, self.algorithm, *self.answers_to)


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineSpec(ComponentSpec):
    """A source of windows; the factory makes a :class:`~optix_core.base_pipeline.BasePipeline`.

    Attributes:
        vectorized: Steps several environments at once.
        live: Its source can be neither paused nor replayed.
    """

    kind: ClassVar[str] = "pipeline"

    vectorized: bool = False
    live: bool = False

    def __post_init__(self) -> None:
        ComponentSpec.__post_init__(self)
        self._flag("vectorized", "live")


@dataclass(frozen=True, slots=True, kw_only=True)
class TunerSpec(ComponentSpec):
    """A hyperparameter tuner; the factory makes a :class:`~optix_core.base_optimizer.BaseOptimizer`.

    Attributes:
        signal: What it learns from: ``"score"`` (scores of windows), ``"paired"`` (branches compared on the same
            episodes), ``"diagnostics"`` (what ``learn`` reports) or ``"none"``.
        needs_population: Needs several agents.
    """

    kind: ClassVar[str] = "tuner"

    signal: Literal["score", "paired", "diagnostics", "none"] = "score"
    needs_population: bool = False

    def __post_init__(self) -> None:
        ComponentSpec.__post_init__(self)
        self._one_of("signal", ("score", "paired", "diagnostics", "none"))
        self._flag("needs_population")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackSpec(ComponentSpec):
    """An observer of the loop; the factory makes a :class:`~optix_core.loop_callback.LoopCallback`.

    Attributes:
        events: The events it acts on, for listings; see :data:`EVENTS`. Empty: not said.
    """

    kind: ClassVar[str] = "callback"

    events: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        ComponentSpec.__post_init__(self)
        self._words("events", EVENTS, needed=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatorSpec(ComponentSpec):
    """A way to score windows; the factory makes a :class:`~optix_core.base_evaluator.BaseEvaluator`."""

    kind: ClassVar[str] = "evaluator"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExporterSpec(ComponentSpec):
    """Writes a trained policy for use elsewhere; the factory is ``export(agent, path, **options)``.

    Attributes:
        format: What it writes, for example ``"onnx"``.
        frameworks: Frameworks whose agents it accepts; empty: any.
    """

    kind: ClassVar[str] = "exporter"

    format: str
    frameworks: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        ComponentSpec.__post_init__(self)
        if not isinstance(self.format, str) or not WORD.fullmatch(self.format):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise self._error(f"format is {self.format!r}; it must be a lower-case word such as 'onnx'")
        self._set("frameworks", frozenset(self._texts("frameworks")))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerSpec(ComponentSpec):
    """Who collects a run's experience, for example actors in other processes.

    The factory is a :class:`~optix_core.runner.Runner`: ``build(ctx: RunnerContext, **options) -> BasePipeline``.
    """

    kind: ClassVar[str] = "runner"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvProviderSpec(ComponentSpec):
    """A package that registers environments with gymnasium once asked to.

    Attributes:
        namespace: The part of an environment id before the slash, for example ``"ALE"``; also the component's name
            unless it has one of its own.
        register: ``"package.module:function"``, called without arguments before the first ``gymnasium.make`` of the
            namespace; the same as ``factory``, give either.
    """

    kind: ClassVar[str] = "env_provider"

    name: str = ""
    factory: str = ""
    namespace: str
    register: str = ""

    def __post_init__(self) -> None:
        self._set("name", self.name or self.namespace)
        if self.factory and self.register and self.factory != self.register:
            raise self._error("factory and register are the same thing; give one of them")
        self._set("factory", self.factory or self.register)
        self._set("register", self.factory)
        ComponentSpec.__post_init__(self)
        if not isinstance(self.namespace, str) or not re.fullmatch(r"[\w-]+", self.namespace):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise self._error(
                f"namespace is {self.namespace!r}; it must be what stands before the slash of an id"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSpec(ComponentSpec):
    """A verb of the command line; the factory is ``run(argv: list[str]) -> int``.

    Attributes:
        help: One line for ``optix --help``; the same as ``summary``, give either.
    """

    kind: ClassVar[str] = "command"

    help: str = ""

    def __post_init__(self) -> None:
        self._set("help", self.help or self.summary)
        self._set("summary", self.summary or self.help)
        ComponentSpec.__post_init__(self)
        if not isinstance(self.help, str) or "\n" in self.help:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise self._error("help must be one line of text")


_SPEC_CLASSES: tuple[type[ComponentSpec], ...] = (
    AgentSpec, PipelineSpec, TunerSpec, CallbackSpec, MutatorSpec, EvaluatorSpec, ExporterSpec, RunnerSpec,
    EnvProviderSpec, CommandSpec, NeuronTypeSpec, GrowthGateSpec, PlasticityRuleSpec,
)  # fmt: skip
SPEC_TYPES: dict[str, type[ComponentSpec]] = {spec.kind: spec for spec in _SPEC_CLASSES}
"""The class of specs per kind of component, in the order of listings."""


def spec_from_dict(data: Mapping[str, Any]) -> ComponentSpec:
    """The spec that a ``to_dict`` described, of whatever kind.

    Raises:
        SpecError: The kind is unknown, or see :meth:`ComponentSpec.from_dict`.
    """
    kind = data.get("kind")
    if kind not in SPEC_TYPES:
        raise SpecError(f"kind is {kind!r}; it must be one of: {', '.join(SPEC_TYPES)}")
    return SPEC_TYPES[kind].from_dict(data)


__all__ = [
    "CAPABILITIES",
    "EVENTS",
    "SPACE_KINDS",
    "SPEC_TYPES",
    "AgentSpec",
    "CallbackSpec",
    "CommandSpec",
    "ComponentSpec",
    "EnvProviderSpec",
    "EvaluatorSpec",
    "ExporterSpec",
    "GrowthGateSpec",
    "MutatorSpec",
    "NeuronTypeSpec",
    "PipelineSpec",
    "PlasticityRuleSpec",
    "RunnerSpec",
    "SpecError",
    "TunerSpec",
    "spec_from_dict",
]
