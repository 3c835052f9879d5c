"""Which device does a name mean, and is it there?"""

from __future__ import annotations

from typing import Any

import jax

from optix_core.errors import ConfigError


def resolve_device(name: Any = "auto") -> Any:
    """``"auto"`` (JAX's default), ``"cpu"``, ``"cuda"`` or ``"cuda:1"`` as a ``jax.Device``, which passes through.

    Raises:
        ConfigError: The name means no device, or that device is not available.
    """
    if isinstance(name, jax.Device):
        return name
    if name == "auto":
        return jax.devices()[0]
    kind, _, number = str(name).partition(":")
    if kind not in {"cpu", "cuda"} or (number and not number.isdigit()):
        raise ConfigError(f"device {name!r} is not known; use 'auto', 'cpu', 'cuda' or 'cuda:N'")
    try:
        found = jax.devices(kind)
    except RuntimeError:
        found = []
    if int(number or 0) >= len(found):
        raise ConfigError(
            f"device {name!r} is not available: this JAX {jax.__version__} sees {len(found)} {kind} devices; use "
            "device='cpu' or 'auto'"
        )
    return found[int(number or 0)]
