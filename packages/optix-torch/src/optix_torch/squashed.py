"""Gaussian policies squashed into [-1, 1] by tanh (Haarnoja et al. 2018, arXiv:1812.05905, appendix C).

The density of ``a = tanh(u)`` is that of u divided by ``1 - tanh(u)^2``, whose logarithm is computed as
``2 (log 2 - u - softplus(-2u))``: exact for every u, where ``log(1 - a^2 + 1e-6)`` stops at -13.8.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LOG_STD_BOUNDS = (-20.0, 2.0)
"""What logarithms of standard deviations are clamped to.

The upper bound keeps u where tanh still has a slope: at exp(2) most draws are saturated already. The lower one only
prevents an underflow and binds nothing, so that the temperature alone decides how deterministic a policy becomes;
-5, as others have it, would leave a noise of 0.7 % that no temperature removes.
"""

_CONSTANT = 0.5 * math.log(2.0 * math.pi) + 2.0 * math.log(2.0)


def sample(outputs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Actions ``tanh(mean + std * noise)`` ``[B, A]`` and their log-densities ``[B]``, both differentiable.

    Args:
        outputs: ``[B, 2 A]``, means followed by logarithms of standard deviations.
        noise: ``[B, A]``, standard normal draws.
    """
    return _Squashed.apply(outputs, noise)


class _Squashed(torch.autograd.Function):
    """One node of the graph instead of twenty.

    With du the derivative by u: da/du = 1 - a^2, and d log p/du = 2 a, since 2 - 4 sigmoid(-2u) = 2 tanh(u).
    The clamp of log std stops its gradient outside the bounds.
    """

    @staticmethod
    def forward(ctx: Any, outputs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        mean, raw = outputs.chunk(2, dim=-1)
        log_std = raw.clamp(*LOG_STD_BOUNDS)
        spread = log_std.exp().mul_(noise)
        u = mean + spread
        # -noise^2/2 - log std - log(2 pi)/2 - 2 (log 2 - u - softplus(-2u))
        density = torch.nn.functional.softplus(-2.0 * u, threshold=40.0).add_(u).mul_(2.0).sub_(log_std)
        density.addcmul_(noise, noise, value=-0.5)
        log_probs = density.sum(-1).sub_(_CONSTANT * mean.shape[-1])
        actions = u.tanh_()
        ctx.save_for_backward(actions, spread, raw, log_std)
        return actions, log_probs

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        by_action, by_log_prob = grad_outputs[0], grad_outputs[1].unsqueeze(-1)
        actions, spread, raw, log_std = ctx.saved_tensors
        by_u = by_action * (1.0 - actions.square()) + by_log_prob * actions * 2.0
        by_log_std = (by_u * spread - by_log_prob) * (raw == log_std)
        return torch.cat([by_u, by_log_std], dim=-1), None


def act(outputs: NDArray[Any], rng: np.random.Generator | None) -> NDArray[np.float32]:
    """Actions ``[N, A]`` for ``outputs`` ``[N, 2 A]``: drawn from ``rng``, or tanh of the means without one."""
    mean, log_std = np.split(outputs, 2, axis=1)
    if rng is None:
        return np.tanh(mean).astype(np.float32, copy=False)
    spread = np.exp(np.clip(log_std, *LOG_STD_BOUNDS))
    return np.tanh(mean + spread * rng.standard_normal(mean.shape, np.float32)).astype(np.float32, copy=False)
