"""What one setting may be, and the sentence for a value that it may not be."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from optix_core.config.provenance import Provenance, came_from
from optix_core.errors import ConfigError

_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "table": "a table",
    "list": "a list",
    "none": "none",
}
_SCALARS = {"int": "int", "float": "float", "bool": "bool", "str": "str", "Path": "str", "None": "none"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One setting.

    Attributes:
        kinds: What it may be, among ``int``, ``float``, ``bool``, ``str``, ``table``, ``list`` and ``none``.
        default: Used where nothing is given.
        low: Smallest number, None if there is no limit.
        open: ``low`` itself is not allowed.
        choices: The texts that are allowed, if not all are.
        help: One line.
    """

    kinds: tuple[str, ...]
    default: Any = None
    low: float | None = None
    open: bool = False
    choices: tuple[str, ...] = ()
    help: str = ""

    @property
    def expected(self) -> str:
        """What it may be, in words."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        words = " or ".join(_WORDS[kind] for kind in self.kinds)
        if self.low is None:
            return words
        return f"{words}, {'above' if self.open else 'at least'} {self.low:g}"

    def checked(self, name: str, value: Any, origins: Provenance) -> Any:
        """``value``, with 1e5 as an int where a whole number is wanted; texts are never turned into numbers.

        Raises:
            ConfigError: The wrong type, or out of range.
        """
        for kind in self.kinds:
            fits, result = _as(kind, value)
            if fits:
                number = isinstance(result, int | float) and not isinstance(result, bool)
                if (
                    number
                    and self.low is not None
                    and not (result > self.low if self.open else result >= self.low)
                ):
                    break
                if self.choices and isinstance(result, str) and result not in self.choices:
                    break
                return result
        hint = ""
        if isinstance(value, str) and {"int", "float"} & set(self.kinds):
            hint = "; write the number without quotes" if _looks_numeric(value) else ""
        raise ConfigError(
            f"{name} is {_shown(value)}{came_from(name, origins)}, but it must be {self.expected}{hint}"
        )


def check_names(
    data: Mapping[str, Any],
    known: Iterable[str],
    section: str,
    origins: Provenance,
    elsewhere: Mapping[str, str],
) -> None:
    """Refuse names that a table does not have.

    Args:
        data: The table.
        known: Its names.
        section: Its own dotted name, empty for the top level.
        origins: Where values came from.
        elsewhere: Names that belong to another place, with their full name.

    Raises:
        ConfigError: A name is unknown, with the nearest one.
    """
    known = sorted(known)
    for name in data:
        if name in known:
            continue
        from optix_core.plugins.hints import did_you_mean

        full = f"{section}.{name}" if section else str(name)
        place = f"[{section}]" if section else "the top level"
        moved = elsewhere.get(name)
        meant = f" It is spelled {moved}." if moved else did_you_mean(str(name), known)
        raise ConfigError(
            f"unknown setting {full!r}{came_from(full, origins)}.{meant} Settings of {place}: {', '.join(known)}"
        )


def scalar_parameters(function: Callable[..., Any]) -> dict[str, Field]:
    """The parameters of ``function`` that are numbers, truth values or texts, as fields with their defaults.

    Read from the annotations (which are texts), so that a new option needs no second list.
    """
    found: dict[str, Field] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        parts = [part.strip() for part in str(parameter.annotation).split("|")]
        if name == "self" or not all(part in _SCALARS for part in parts):
            continue
        kinds = tuple(dict.fromkeys(_SCALARS[part] for part in parts))
        default = None if parameter.default is inspect.Parameter.empty else parameter.default
        found[name] = Field(kinds=kinds, default=default)
    return found


def _as(kind: str, value: Any) -> tuple[bool, Any]:
    """Whether ``value`` is of ``kind``, and the value in that kind."""
    if kind == "none":
        return value is None, value
    if kind == "bool":
        return isinstance(value, bool), value
    if kind == "str":
        return isinstance(value, str), value
    if kind == "table":
        return isinstance(value, Mapping), value
    if kind == "list":
        return isinstance(value, list | tuple), value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return False, value
    if kind == "float":
        return True, float(value)
    whole = float(value).is_integer()
    return whole, int(value) if whole else value


def _looks_numeric(text: str) -> bool:
    return re.fullmatch(r"[-+]?[\d_]*\.?[\d_]+([eE][-+]?\d+)?", text.strip()) is not None


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list):
        return "a list"
    text = "none" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
