"""Where did a value come from? One short text per dotted name, for messages and for ``optix config show``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

DEFAULT = "default"
CLI = "command line"

Provenance = Mapping[str, str]
"""Dotted name to ``"default"``, ``"run.toml:3"``, ``"command line"`` or ``"environment variable OPTIX_SEED"``."""


def env_var(name: str) -> str:
    """The origin of a value that an environment variable set."""
    return f"environment variable {name}"


def leaves(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and value of everything in nested mappings; an empty mapping counts as a value."""
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}.")  # pyright: ignore[reportUnknownArgumentType]
        else:
            yield f"{prefix}{key}", value


def came_from(name: str, origins: Provenance) -> str:
    """``" (from run.toml:3)"`` for a message, or nothing when the value is a default or its origin is unknown."""
    origin = origins.get(name)
    return f" (from {origin})" if origin and origin != DEFAULT else ""
