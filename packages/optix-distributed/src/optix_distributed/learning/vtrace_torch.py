"""V-trace for tensors on any device: the numbers of :func:`optix_core.rl.vtrace.vtrace`, without leaving the device."""

from __future__ import annotations

import torch
from torch import Tensor

from optix_core.rl.vtrace import LOG_RATIO_BOUND


@torch.no_grad()
def vtrace(
    behaviour_log_probs: Tensor,
    target_log_probs: Tensor,
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    *,
    gamma: float,
    lam: float = 1.0,
    rho_bar: float | None = 1.0,
    c_bar: float | None = 1.0,
    pg_rho_bar: float | None = 1.0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Targets and advantages (Espeholt et al. 2018, arXiv:1802.01561, section 4.1); the formulas are told in core.

    On a CPU core's version is several times faster, because a step of its recursion costs no call of a framework.

    Args:
        behaviour_log_probs: ``[T, N]`` under the policy that acted.
        target_log_probs: ``[T, N]`` under the policy that learns; no gradient flows through the results.
        rewards: ``[T, N]``.
        values: ``[T, N]``.
        next_values: ``[T, N]`` of true successors; ignored, even if NaN, where ``terminated``.
        terminated: ``[T, N]`` bool.
        truncated: ``[T, N]`` bool.
        gamma: Discount, in [0, 1].
        lam: In [0, 1].
        rho_bar: Bound of the weights of temporal differences; None: no bound.
        c_bar: Bound of the weights of the trace; None: no bound.
        pg_rho_bar: Bound of the weights of the policy gradient; None: no bound.

    Returns:
        ``vs``, ``advantages``, ``rhos`` and ``deltas``, each ``[T, N]``.

    Raises:
        ValueError: Shapes differ or are not ``[T, N]``, or ``gamma`` or ``lam`` is outside [0, 1].
    """
    others = (behaviour_log_probs, target_log_probs, values, next_values, terminated, truncated)
    if rewards.ndim != 2 or any(x.shape != rewards.shape for x in others):
        raise ValueError(
            f"all tensors must be [T, N] of one shape; got {[tuple(x.shape) for x in (rewards, *others)]}"
        )
    if not (0.0 <= gamma <= 1.0 and 0.0 <= lam <= 1.0):
        raise ValueError(f"gamma is {gamma} and lam is {lam}; both must lie in [0, 1]")
    rhos = (target_log_probs - behaviour_log_probs).clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND).exp()
    bootstrap = torch.where(terminated, torch.zeros_like(next_values), next_values)
    deltas = _bounded(rhos, rho_bar) * (rewards + gamma * bootstrap - values)
    goes_on = ~(terminated | truncated)
    goes_on[-1:] = False
    decay = torch.where(goes_on, gamma * lam * _bounded(rhos, c_bar), torch.zeros_like(rhos))
    errors = deltas.clone()
    for t in range(len(errors) - 2, -1, -1):
        errors[t] += torch.where(decay[t] != 0, decay[t] * errors[t + 1], torch.zeros_like(errors[t]))
    vs = values + errors
    ahead = bootstrap.clone()
    ahead[:-1] = torch.where(goes_on[:-1], lam * vs[1:] + (1.0 - lam) * values[1:], bootstrap[:-1])
    advantages = _bounded(rhos, pg_rho_bar) * (rewards + gamma * ahead - values)
    return vs, advantages, rhos, deltas


def _bounded(rhos: Tensor, bound: float | None) -> Tensor:
    return rhos if bound is None else rhos.clamp(max=bound)
