"""Factories with and without a seed."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def accepts_seed(factory: Callable[..., Any]) -> bool:
    """Whether ``factory`` has a parameter called ``seed``."""
    try:
        parameter = inspect.signature(factory).parameters.get("seed")
    except (TypeError, ValueError):
        return False
    return parameter is not None and parameter.kind is not parameter.POSITIONAL_ONLY


def call_seeded(factory: Callable[..., Any], seed: int | None, *args: Any) -> Any:
    """What ``factory`` makes, with ``seed=`` if it takes that."""
    return factory(*args, seed=seed) if accepts_seed(factory) else factory(*args)
