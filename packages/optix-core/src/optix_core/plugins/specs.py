"""What does a plugin say about each component it offers?

A *spec* is frozen data and a factory string. Listing, choosing, checking options and drawing tuning bounds need nothing
else, so a framework is imported only when something is built.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, Self, TypeVar, cast

from optix_core.plugins.hyper import Hyper, Option, SpecError, frozen_data

SPACE_KINDS = ("box", "dict", "discrete", "multi_binary", "multi_discrete", "tuple")
"""Kinds of spaces that a spec can name."""
CAPABILITIES = (
    "async", "checkpoint", "distributional", "export:onnx", "her", "masks", "neuroevo", "on_device_vector",
    "recurrent", "vtrace",
)  # fmt: skip
"""Capabilities that core knows; plugins may use words of their own, best with the prefix ``x-``."""
EVENTS = (
    "on_loop_start", "on_loop_stop", "on_episode_end", "on_improvement", "on_plateau", "on_dormant",
    "on_degradation", "on_hyperparam_update",
)  # fmt: skip
"""Events of a :class:`~optix_core.loop_callback.LoopCallback`."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.+-]*")
_FACTORY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_WORD = re.compile(r"[a-z0-9][a-z0-9_.-]*(:[a-z0-9][a-z0-9_.-]*)?")
# the shape of a PEP 508 requirement; the loader parses it for good, this finds mistakes without importing packaging
_REQUIREMENT = re.compile(r"\s*[A-Za-z0-9][A-Za-z0-9._-]*\s*(\[[^\]]*\])?\s*(\(?\s*[<>=!~][^;]*)?(;.*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentSpec:
    """What all kinds of components have in common.

    Attributes:
        name: How users ask for it; unique within the plugin and kind, whatever the case.
        factory: ``"package.module:attribute"``, imported when the component is built.
        summary: One line for listings.
        requires: PEP 508 requirements beyond the plugin's own, checked without importing anything.
        capabilities: Words such as ``"recurrent"``; see :data:`CAPABILITIES`.
        hyperparams: Values that can be tuned.
        options: Further choices at construction.
        extra: Plain data for whoever knows it.

    Raises:
        SpecError: A field is wrong; the text says which and what it may be.
    """

    kind: ClassVar[str] = "component"

    name: str
    factory: str
    summary: str = ""
    requires: tuple[str, ...] = ()
    capabilities: frozenset[str] = frozenset()
    hyperparams: tuple[Hyper, ...] = ()
    options: tuple[Option, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any], hash=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise SpecError(
                f"{type(self).__name__}: name is {self.name!r}; it must start with a letter and hold only letters, "
                "digits and _ . + -"
            )
        if not isinstance(self.factory, str) or not _FACTORY.fullmatch(self.factory):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise self._error(f"factory is {self.factory!r}; it must read 'package.module:attribute'")
        if not isinstance(self.summary, str) or "\n" in self.summary:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise self._error("summary must be one line of text")
        self._set("requires", self._texts("requires"))
        self._set("capabilities", frozenset(self._texts("capabilities")))
        self._set("hyperparams", self._items("hyperparams", Hyper))
        self._set("options", self._items("options", Option))
        self._set("extra", frozen_data(dict(self.extra), f"{type(self).__name__} {self.name!r}: extra"))
        for requirement in self.requires:
            if not _REQUIREMENT.fullmatch(requirement):
                raise self._error(
                    f"requires has {requirement!r}, which is not a requirement such as 'torch>=2.6'"
                )
        self._check_capabilities()
        self._check_option_names()

    @property
    def accepted(self) -> tuple[str, ...]:
        """Every name that a caller may give at construction: hyperparameters first, then options."""
        return (*(hyper.name for hyper in self.hyperparams), *(option.name for option in self.options))

    def to_dict(self) -> dict[str, Any]:
        """Plain data that JSON can hold; :func:`spec_from_dict` makes an equal spec of it."""
        data: dict[str, Any] = {"kind": self.kind}
        for item in fields(self):
            data[item.name] = _plain(getattr(self, item.name))
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The spec that :meth:`to_dict` described.

        Raises:
            SpecError: It is of another kind, or has fields that this optix-core does not know.
        """
        values = dict(data)
        kind = values.pop("kind", cls.kind)
        if kind != cls.kind:
            raise SpecError(f"{cls.__name__}: this describes a {kind}, not a {cls.kind}")
        values["hyperparams"] = [_part(Hyper, item) for item in values.get("hyperparams", ())]
        values["options"] = [_part(Option, item) for item in values.get("options", ())]
        return _part(cls, values)

    def _check_capabilities(self) -> None:
        for word in sorted(self.capabilities):
            if not _WORD.fullmatch(word):
                raise self._error(f"capabilities has {word!r}; words are lower case, like 'export:onnx'")
            if word in CAPABILITIES or word.startswith("x-"):
                continue
            import difflib

            close = difflib.get_close_matches(word, CAPABILITIES, n=1, cutoff=0.8)
            if close:
                raise self._error(
                    f"capabilities has {word!r}; did you mean {close[0]!r}? A word of your own can be 'x-{word}'"
                )

    def _check_option_names(self) -> None:
        seen: set[str] = set()
        for name in self.accepted:
            if name in seen:
                raise self._error(f"{name!r} is declared twice among hyperparams and options")
            seen.add(name)

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)  # frozen: only while the spec is being made

    def _error(self, text: str) -> SpecError:
        return SpecError(f"{type(self).__name__} {self.name!r}: {text}")

    def _texts(self, name: str) -> tuple[str, ...]:
        found = self._items(name, str)
        if not all(found):
            raise self._error(f"{name} holds an empty string")
        return found

    def _items(self, name: str, of: type[Any]) -> tuple[Any, ...]:
        value = getattr(self, name)
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
            raise self._error(f"{name} is {value!r}; it must be a collection of {of.__name__}")
        found = tuple(cast("Iterable[Any]", value))
        for item in found:
            if not isinstance(item, of):
                raise self._error(f"{name} holds {item!r}; every item must be a {of.__name__}")
        return found

    def _words(self, name: str, allowed: tuple[str, ...], *, needed: bool) -> None:
        """Make field ``name`` a frozenset and check its words."""
        words = frozenset(self._texts(name))
        if needed and not words:
            raise self._error(f"{name} is empty; it must hold at least one of: {', '.join(allowed)}")
        for word in sorted(words - set(allowed)):
            raise self._error(f"{name} has {word!r}.{self._meant(word, allowed)}")
        self._set(name, words)

    def _one_of(self, name: str, allowed: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if value not in allowed:
            raise self._error(f"{name} is {value!r}.{self._meant(str(value), allowed)}")

    def _flag(self, *names: str) -> None:
        for name in names:
            if not isinstance(getattr(self, name), bool):
                raise self._error(f"{name} is {getattr(self, name)!r}; it must be True or False")

    @staticmethod
    def _meant(word: str, allowed: tuple[str, ...]) -> str:
        from optix_core.plugins.hints import did_you_mean

        return f"{did_you_mean(word, allowed)} Allowed: {', '.join(allowed)}"


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
            if not _NAME.fullmatch(name):
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
class MutatorSpec(ComponentSpec):
    """A change of network topology.

    Attributes:
        operation: ``"grow"``, ``"prune"``, ``"merge"``, ``"split"`` or ``"rewire"``.
        function_preserving: The network computes the same function right after the change.
        target: ``"graph"`` or ``"brain"``.
    """

    kind: ClassVar[str] = "topology_mutator"

    operation: Literal["grow", "prune", "merge", "split", "rewire"]
    function_preserving: bool = False
    target: Literal["graph", "brain"] = "graph"

    def __post_init__(self) -> None:
        ComponentSpec.__post_init__(self)
        self._one_of("operation", ("grow", "prune", "merge", "split", "rewire"))
        self._flag("function_preserving")
        self._one_of("target", ("graph", "brain"))


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
        if not isinstance(self.format, str) or not _WORD.fullmatch(self.format):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise self._error(f"format is {self.format!r}; it must be a lower-case word such as 'onnx'")
        self._set("frameworks", frozenset(self._texts("frameworks")))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerSpec(ComponentSpec):
    """Something that runs a whole training in its own way, for example actors in other processes."""

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
    EnvProviderSpec, CommandSpec,
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


_Part = TypeVar("_Part")


def _part(cls: type[_Part], values: Any) -> _Part:
    """``cls(**values)``, with unknown and missing names explained."""
    if not isinstance(values, Mapping):
        raise SpecError(f"{cls.__name__}: expected a mapping, found {values!r}")
    found = cast("Mapping[str, Any]", values)
    known = {item.name for item in fields(cast("Any", cls))}
    unknown = sorted(set(found) - known)
    if unknown:
        raise SpecError(
            f"{cls.__name__}: unknown field {unknown[0]!r}; it may come from a newer optix-core than this one"
        )
    try:
        return cls(**found)
    except TypeError as fault:
        raise SpecError(f"{cls.__name__}: {fault}") from None


def _plain(value: Any) -> Any:
    """A spec's field as what JSON holds: sets sorted, tuples as lists, parts as dicts."""
    if isinstance(value, Hyper | Option):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, frozenset):
        return sorted(cast("frozenset[str]", value))
    if isinstance(value, tuple):
        return [_plain(item) for item in cast("tuple[Any, ...]", value)]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in cast("Mapping[str, Any]", value).items()}
    return value
