"""The losses, one value per sample, to be minimised: nothing here reduces, standardises or logs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from optix_core.acting import LOG_STD_BOUNDS

LOG_RATIO_BOUND = 20.0
"""Logarithms of probability ratios are clamped to plus or minus this, so that ``exp`` cannot overflow."""

_LOG_2_PI = math.log(2.0 * math.pi)


def ppo_clip_loss(log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, clip_ratio: float) -> Tensor:
    """Clipped surrogate objective (Schulman et al. 2017, arXiv:1707.06347, eq. 7), negated, ``[B]``.

    ``-min(r A, clip(r, 1 - eps, 1 + eps) A)`` with ``r = exp(log_probs - old_log_probs)``. Where A is positive,
    only the upper bound of the clip can give the smaller term, where it is negative only the lower one; so this is
    ``-A`` times r clamped on one side, and the clamp is made before ``exp``, where it keeps r from overflowing too.
    """
    gains = advantages > 0
    low = torch.full_like(advantages, math.log1p(-clip_ratio)).masked_fill_(gains, -LOG_RATIO_BOUND)
    high = torch.full_like(advantages, LOG_RATIO_BOUND).masked_fill_(gains, math.log1p(clip_ratio))
    ratio = torch.clamp(log_probs - old_log_probs, low, high).exp()
    return ratio * -advantages


def value_loss(values: Tensor, targets: Tensor) -> Tensor:
    """Squared error ``(V - R)^2``, ``[B]`` (eq. 9 of the same paper, without a factor of one half)."""
    return torch.nn.functional.mse_loss(values, targets, reduction="none")


def clipped_value_loss(values: Tensor, targets: Tensor, old_values: Tensor, clip: float) -> Tensor:
    """The larger of the squared errors of V and of V clipped to ``old_values`` plus or minus ``clip``, ``[B]``.

    Engstrom et al. 2020 (arXiv:2005.12729, section 3) describe it; it rarely helps.
    """
    clipped = old_values + (values - old_values).clamp(-clip, clip)
    return torch.maximum((values - targets).square(), (clipped - targets).square())


def categorical(logits: Tensor, actions: Tensor, masks: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Log-probabilities of ``actions`` ``[B]`` and entropies, both ``[B]``, for ``logits`` ``[B, A]``.

    Where ``masks`` ``[B, A]`` is False an action has no probability, adds no entropy and gets no gradient.
    """
    if masks is not None:
        logits = logits.masked_fill(~masks, -math.inf)
    log_probs = torch.log_softmax(logits, dim=-1)
    # -p log p has an infinite slope at p = 0, where a logit is -inf or far below the rest: the clamp stops it there
    probabilities = log_probs.exp().clamp(min=torch.finfo(log_probs.dtype).tiny)
    entropy = torch.special.entr(probabilities).sum(-1)
    return -torch.nn.functional.nll_loss(log_probs, actions, reduction="none"), entropy


def multi_categorical(
    logits: Tensor, actions: Tensor, masks: Tensor | None = None, *, nvec: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """The same for ``actions`` ``[B, K]`` of K components, whose ``logits`` lie one after another, ``[B, sum(nvec)]``.

    Components are independent: both results are sums over them.
    """
    if len(set(nvec)) == 1:  # components of one size are rows of one softmax
        n = nvec[0]
        parts = categorical(
            logits.reshape(-1, n), actions.reshape(-1), None if masks is None else masks.reshape(-1, n)
        )
        log_probs, entropies = (part.view(actions.shape).sum(-1) for part in parts)
        return log_probs, entropies
    pieces = logits.split(list(nvec), dim=-1)
    allowed = [None] * len(nvec) if masks is None else masks.split(list(nvec), dim=-1)
    found = [categorical(pieces[k], actions[:, k], allowed[k]) for k in range(len(nvec))]
    return torch.stack([one for one, _ in found]).sum(0), torch.stack([one for _, one in found]).sum(0)


def bernoulli(logits: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of bits ``[B, K]`` and entropies, both ``[B]``: sums over independent bits.

    ``a l - log(1 + exp(l))`` and ``log(1 + exp(l)) - l sigmoid(l)`` for each logit l.
    """
    softplus = torch.nn.functional.softplus(logits)
    log_probs = (actions * logits - softplus).sum(-1)
    return log_probs, (softplus - logits * torch.sigmoid(logits)).sum(-1)


def gaussian(outputs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Log-densities of ``actions`` ``[B, A]`` and entropies, both ``[B]``, summed over independent dimensions.

    ``outputs`` ``[B, 2 A]`` are means followed by logarithms of standard deviations, which are clamped to
    ``LOG_STD_BOUNDS``.
    """
    mean, log_std = outputs.chunk(2, dim=-1)
    log_std = log_std.clamp(*LOG_STD_BOUNDS)
    z = (actions - mean) * (-log_std).exp()
    log_probs = (-0.5 * z.square() - log_std - 0.5 * _LOG_2_PI).sum(-1)
    return log_probs, (log_std + 0.5 * (1.0 + _LOG_2_PI)).sum(-1)


def approximate_kl(log_ratios: Tensor) -> Tensor:
    """``(r - 1) - log r``, ``[B]``: an unbiased, never negative estimate of KL(old || new) from old samples.

    Schulman 2020, "Approximating KL divergence", the estimator called k3.
    """
    return log_ratios.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND).expm1() - log_ratios
