"""Optional packages: named, with the line that installs them, at the moment somebody asks for what needs them."""

from __future__ import annotations

import importlib
from typing import Any

from optix_core.errors import MissingDependencyError


def require(module: str, *, extra: str, what: str) -> Any:
    """Import ``module``.

    Args:
        module: What to import.
        extra: The extra of optix-core that brings it.
        what: Who needs it, for the message.

    Raises:
        MissingDependencyError: It cannot be imported; the message has the install line.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingDependencyError(
            f"{what} needs the package {package}, which this Python cannot import ({error}). "
            f"Install: pip install 'optix-core[{extra}]'"
        ) from error
