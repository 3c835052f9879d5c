"""Which device does a name mean, and is it there?"""

from __future__ import annotations

import tensorflow as tf

from optix_core.errors import ConfigError


def resolve_device(name: str = "auto") -> str:
    """``"auto"`` (a GPU if TensorFlow sees one, else the CPU), ``"cpu"``, ``"cuda"``, ``"gpu"`` or ``"cuda:1"``.

    Returns:
        The device's name as ``tf.device`` takes it.

    Raises:
        ConfigError: The name means no device, or that device is not available.
    """
    kind, colon, index = str(name).lower().partition(":")
    n_gpus = len(tf.config.list_physical_devices("GPU"))
    if kind == "auto" and not colon:
        return "/GPU:0" if n_gpus else "/CPU:0"
    if kind == "cpu" and not colon:
        return "/CPU:0"
    if kind not in {"cuda", "gpu"} or (colon and not index.isdigit()):
        raise ConfigError(f"device {name!r} is not known; use 'auto', 'cpu', 'cuda' or 'cuda:N'")
    if int(index or 0) >= n_gpus:
        raise ConfigError(
            f"device {name!r} is not available: this TensorFlow {tf.__version__} sees {n_gpus} GPUs; use "
            "device='cpu' or 'auto'"
        )
    return f"/GPU:{index or 0}"
