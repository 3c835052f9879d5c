"""Which device does a name mean, and is it there?"""

from __future__ import annotations

import torch

from optix_core.errors import ConfigError


def resolve_device(name: str | torch.device = "auto") -> torch.device:
    """``"auto"`` (CUDA if there is one, else the CPU), ``"cpu"``, ``"cuda"`` or ``"cuda:1"`` as a device.

    Raises:
        ConfigError: The name means no device, or that device is not available.
    """
    if str(name) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(
            f"device {str(name)!r} is not known; use 'auto', 'cpu', 'cuda' or 'cuda:N'"
        ) from error
    if device.type not in {"cpu", "cuda"}:
        raise ConfigError(f"device {str(name)!r} is not supported; use 'auto', 'cpu', 'cuda' or 'cuda:N'")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device {str(name)!r} is not available: this PyTorch {torch.__version__} sees "
            f"{torch.cuda.device_count()} CUDA devices; use device='cpu' or 'auto'"
        )
    return device


def device_for_small_networks(name: str) -> str:
    """``"auto"`` as the CPU, anything else as it is.

    A gradient step of a perceptron with a few thousand weights takes less time on a CPU than its kernels take to be
    launched on a GPU; ask for ``"cuda"`` where networks are wide.
    """
    return "cpu" if name == "auto" else name
