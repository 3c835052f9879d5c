"""TOML files, with the line of every value (which ``tomllib`` does not tell)."""

from __future__ import annotations

import re
import tomllib
from typing import Any

from optix_core.errors import ConfigError

_PART = r"""(?:"(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+)"""
_NAME = rf"{_PART}(?:\s*\.\s*{_PART})*"
_HEADER = re.compile(rf"\s*\[\[?\s*({_NAME})\s*\]\]?\s*(?:#.*)?")
_ASSIGNMENT = re.compile(rf"\s*({_NAME})\s*=")
_AT = re.compile(r"\(at (?:line (\d+), column (\d+)|end of document)\)")


def read_toml(text: str, name: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The data in ``text`` and ``"name:line"`` for each dotted name.

    Raises:
        ConfigError: A syntax error or a repeated key, with line and column.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        found = _AT.search(message)
        if found is not None and found.group(1):
            where = f"{name}, line {found.group(1)}, column {found.group(2)}"
        else:
            where = f"{name}, line {text.count(chr(10)) + 1}"
        what = _AT.sub("", message).strip()
        hint = " A key may appear only once." if "overwrite" in what or "twice" in what else ""
        raise ConfigError(f"{where}: this is not valid TOML: {what}.{hint}") from None
    except RecursionError:
        raise ConfigError(f"{name}: values are nested too deeply") from None
    return data, _lines(text, name)


def _lines(text: str, name: str) -> dict[str, str]:
    """Lines of assignments in valid TOML. What a multi-line value holds is skipped by looking for its end."""
    found: dict[str, str] = {}
    table = ""
    rows = text.splitlines()
    number = 0
    while number < len(rows):
        row = rows[number]
        header, assignment = _HEADER.fullmatch(row), _ASSIGNMENT.match(row)
        if header is not None:
            table = _dotted(header.group(1)) + "."
            found.setdefault(table[:-1], f"{name}:{number + 1}")
        elif assignment is not None:
            found[table + _dotted(assignment.group(1))] = f"{name}:{number + 1}"
            value = row[assignment.end() :]
            while not _complete(value) and number + 1 < len(rows):
                number += 1
                value += "\n" + rows[number]
        number += 1
    return found


def _complete(value: str) -> bool:
    try:
        tomllib.loads(f"value = {value.strip()}")
    except tomllib.TOMLDecodeError:
        return False
    return True


def _dotted(key: str) -> str:
    return ".".join(part.strip("\"'") for part in re.findall(_PART, key))
