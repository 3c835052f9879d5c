"""JSON documents about runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

from optix_core.cli.output import print_json

SCHEMA = 1
"""Raised when a field changes its meaning or goes away; new fields may come at any time."""


def print_document(fields: Mapping[str, Any]) -> None:
    """Print ``fields`` as one document; numbers that JSON does not have (NaN, infinity) become null."""
    print_json({"schema": SCHEMA, **_finite(dict(fields))})


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in cast("list[Any]", value)]
    return value
