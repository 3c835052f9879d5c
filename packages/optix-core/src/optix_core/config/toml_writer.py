"""Plain data as TOML that :mod:`tomllib` reads back equal. None is left out: TOML has no word for it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, cast

from optix_core.errors import ConfigError

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def toml_text(data: Mapping[str, Any]) -> str:
    """``data`` as a document: values first, then one table for each nested mapping.

    Raises:
        ConfigError: A value is of a kind that TOML does not have.
    """
    plain = {
        key: value for key, value in data.items() if value is not None and not isinstance(value, Mapping)
    }
    lines = [f"{_key(key)} = {_value(value)}" for key, value in plain.items()]
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            lines += ["", f"[{_key(key)}]", *_entries(cast("Mapping[str, Any]", value))]
    return "\n".join(lines).lstrip("\n") + "\n"


def _entries(table: Mapping[str, Any]) -> list[str]:
    return [f"{_key(key)} = {_value(value)}" for key, value in table.items() if value is not None]


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return repr(float(value)) if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, cast('list[Any]', value)))}]"
    if isinstance(value, Mapping):
        items = cast("Mapping[str, Any]", value).items()
        return "{" + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in items if v is not None) + "}"
    raise ConfigError(f"{value!r} cannot be written as TOML")


def _text(value: str) -> str:
    """JSON's escapes are TOML's as well, but for the one control character that JSON leaves as it is."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
