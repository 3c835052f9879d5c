"""What do all kinds of components say about themselves, and how is that checked and written as JSON?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self, TypeVar, cast

from optix_core.plugins.hyper import Hyper, Option, SpecError, frozen_data

CAPABILITIES = (
    "async", "checkpoint", "distributional", "export:onnx", "her", "masks", "neuroevo", "on_device_vector",
    "recurrent", "vtrace",
)  # fmt: skip
"""Capabilities that core knows; plugins may use words of their own, best with the prefix ``x-``."""

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.+-]*")
_FACTORY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
WORD = re.compile(r"[a-z0-9][a-z0-9_.-]*(:[a-z0-9][a-z0-9_.-]*)?")
# the shape of a PEP 508 requirement; the loader parses it for good, this finds mistakes without importing packaging
_VERSION = r"(===|[<>=!~]=|<|>)\s*[\w.*+!-]+"
_REQUIREMENT = re.compile(
    r"\s*[A-Za-z0-9][A-Za-z0-9._-]*\s*(\[[^\]]*\])?\s*"
    rf"(\(?\s*{_VERSION}(\s*,\s*{_VERSION})*\s*,?\s*\)?|@[^;]+)?\s*(;.*)?"
)


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
        if not isinstance(self.name, str) or not NAME.fullmatch(self.name):  # pyright: ignore[reportUnnecessaryIsInstance]
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
            if not WORD.fullmatch(word):
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
