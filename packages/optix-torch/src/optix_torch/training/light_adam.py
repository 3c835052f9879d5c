"""``torch.optim.Adam`` without PyTorch's compiler, which its first parameter group would import.

The methods that PyTorch wraps in ``_disable_dynamo`` import ``torch._dynamo`` (and sympy with it) at their first call:
1.3 seconds of CPU time and 70 MiB in every process that makes an optimizer, for programs that compile nothing. The
wrapped functions themselves are taken here; the mathematics and the state are Adam's.
"""

from __future__ import annotations

from typing import Any

import torch


def _unwrapped(name: str) -> Any:
    """The function below ``_disable_dynamo``; should PyTorch stop wrapping it, the method as it is."""
    method = getattr(torch.optim.Optimizer, name)
    return getattr(method, "__wrapped__", method)


class LightAdam(torch.optim.Adam):
    """Adam (Kingma and Ba 2015, arXiv:1412.6980), for optimizers that optix makes itself."""

    add_param_group = _unwrapped("add_param_group")
    state_dict = _unwrapped("state_dict")
    load_state_dict = _unwrapped("load_state_dict")
    zero_grad = _unwrapped("zero_grad")
