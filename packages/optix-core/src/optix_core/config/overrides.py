"""``name=value`` on the command line: how a value is read, and which setting a short name means."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any, cast

from optix_core.errors import ConfigError

_NUMBER = re.compile(r"[-+]?(\.\d+|\d+\.?\d*)([eE][-+]?\d+)?")
_WORDS: dict[str, Any] = {
    "none": None,
    "null": None,
    "true": True,
    "false": False,
}


def parse_value(text: str) -> Any:
    """``text`` as a number, truth value, list, table or None where it reads like one, else as the text itself.

    Numbers are those of TOML plus ``.5`` and ``5.``; ``1e-3`` is a float. Lists and inline tables are TOML's; ``none``
    and ``null`` mean None. Quotes keep a text that would otherwise be something else: ``'"1"'``.
    """
    stripped = text.strip()
    if stripped.lower() in _WORDS:
        return _WORDS[stripped.lower()]
    if _NUMBER.fullmatch(stripped):
        return float(stripped) if any(c in stripped for c in ".eE") else int(stripped)
    try:
        parsed = tomllib.loads(f"value = {stripped}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    value: Any = parsed.get("value")
    if len(parsed) != 1 or not isinstance(value, bool | int | float | str | list | dict):
        return text
    return cast("Any", value)


def split_override(item: str) -> tuple[str, Any]:
    """``"a.b=v"`` as its dotted name and its value.

    Raises:
        ConfigError: There is no ``=``, or a part of the name is empty.
    """
    name, equals, text = item.partition("=")
    name = name.strip()
    if not equals or not name or not all(part.strip() for part in name.split(".")):
        raise ConfigError(
            f"override {item!r} is not of the form name=value, for example learning_rate=1e-3 or agent.gamma=0.98"
        )
    return name, parse_value(text)


def apply_overrides(config: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """A new dict in which each ``"a.b=v"`` is set; later ones win, missing tables are made.

    Raises:
        ConfigError: An override is malformed, or leads through a value that is no table.
    """
    result = _copied(config)
    for item in overrides:
        name, value = split_override(item)
        set_dotted(result, name, value)
    return result


def set_dotted(data: dict[str, Any], name: str, value: Any) -> None:
    """Set ``data["a"]["b"]`` for ``name = "a.b"``.

    Raises:
        ConfigError: ``a`` is there and is no table.
    """
    *tables, last = name.split(".")
    place = data
    for depth, table in enumerate(tables):
        inner = place.setdefault(table, {})
        if not isinstance(inner, dict):
            path = ".".join(tables[: depth + 1])
            raise ConfigError(f"{name} cannot be set: {path} is {inner!r}, a value and not a table")
        place = cast("dict[str, Any]", inner)
    place[last] = value


def full_name(name: str, top: Iterable[str], sections: Mapping[str, Iterable[str]]) -> str:
    """The dotted name that a short ``name`` means: a top-level setting, else the one section that knows it.

    Args:
        name: As typed; a dotted name is returned unchanged.
        top: Names of top-level settings.
        sections: Section to the names known in it.

    Raises:
        ConfigError: Several sections know it, or nothing does; the message has the spellings to choose from.
    """
    top = list(top)
    if "." in name or name in top:
        return name
    known = {section: list(names) for section, names in sections.items()}
    found = [f"{section}.{name}" for section, names in known.items() if name in names]
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(f"{name!r} could mean {' or '.join(found)}; write one of these instead")
    from optix_core.plugins.hints import did_you_mean

    everything = [*top, *(entry for names in known.values() for entry in names)]
    raise ConfigError(
        f"there is no setting {name!r}.{did_you_mean(name, everything)} "
        f"Settings: {', '.join(sorted(set(top)))}; and those of {', '.join(known)} (see: optix config show)"
    )


def _copied(data: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _copied(v) if isinstance(v, Mapping) else v for k, v in data.items()}  # pyright: ignore[reportUnknownArgumentType]
