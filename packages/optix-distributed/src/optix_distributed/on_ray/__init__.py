"""Collection and calls on the machines of a Ray cluster. Ray is imported when one of these is asked for, not before."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from optix_core.errors import MissingDependencyError

if TYPE_CHECKING:
    from optix_distributed.boot import Boot
    from optix_distributed.on_ray.backend import RayBackend
    from optix_distributed.supervision import Limits


def require_ray(what: str) -> Any:
    """Import Ray.

    Args:
        what: Who needs it, for the message.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise MissingDependencyError(
            f"{what} needs the package ray, which this Python cannot import ({error}). "
            "Install: pip install 'optix-distributed[ray]'"
        ) from error


def ray_backend(boot: Boot, limits: Limits, **options: Any) -> RayBackend:
    """A :class:`~optix_distributed.on_ray.backend.RayBackend`.

    Raises:
        MissingDependencyError: Ray is not installed.
        ConfigError: The cluster cannot be reached, or has not enough room.
    """
    require_ray("backend='ray'")
    from optix_distributed.on_ray.backend import RayBackend

    return RayBackend(boot, limits, **options)
