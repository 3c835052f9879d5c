"""The losses of proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from optix_core.rl.reference.loss import Floats, Loss, floats
from optix_core.rl.reference.policies import Evaluated


def ppo_policy_loss(
    policy: Evaluated,
    old_log_probs: ArrayLike,
    advantages: ArrayLike,
    clip_ratio: float,
    entropy_coef: float = 0.0,
) -> Loss:
    """``-mean(min(r A, clip(r, 1 - eps, 1 + eps) A)) - c mean(H)`` with ``r = exp(log p - log p_old)`` (eq. 7 and 9).

    Where both terms are equal the unclipped one counts; the advantages are taken as they are, normalised or not.

    Args:
        policy: The actions under the present policy.
        old_log_probs: ``[B]``, when they were taken.
        advantages: ``[B]``.
        clip_ratio: eps.
        entropy_coef: c.
    """
    advantage = floats(advantages)
    n = len(advantage)
    ratio = np.exp(policy.log_probs - floats(old_log_probs))
    unclipped = ratio * advantage
    clipped = np.clip(ratio, 1.0 - clip_ratio, 1.0 + clip_ratio) * advantage
    each = -np.minimum(unclipped, clipped)
    d_log_prob = np.where(unclipped <= clipped, -unclipped, 0.0) / n  # d r / d log p = r
    gradients: dict[str, Floats] = {}
    for name, shape in policy.shapes.items():
        rows = d_log_prob[:, None] * policy.d_log_probs[name] - (entropy_coef / n) * policy.d_entropies[name]
        gradients[name] = rows if rows.shape == shape else rows.sum(axis=0)
    value = float(each.mean() - entropy_coef * policy.entropies.mean())
    return Loss(value=value, gradients=gradients, each=each)


def ppo_value_loss(
    values: ArrayLike,
    targets: ArrayLike,
    *,
    old_values: ArrayLike | None = None,
    clip: float | None = None,
) -> Loss:
    """``mean((V - R)^2)``, without a factor of one half (eq. 9).

    With ``clip``, each sample has the larger of the squared errors of V and of V kept within ``clip`` of the old value
    (Engstrom et al. 2020, arXiv:2005.12729, section 3).

    Args:
        values: ``[B]``.
        targets: ``[B]``, R.
        old_values: ``[B]`` when the steps were taken; needed with ``clip``.
        clip: Largest move that counts, or None.
    """
    v, r = floats(values), floats(targets)
    each, slope = (v - r) ** 2, 2.0 * (v - r)
    if clip is not None:
        if old_values is None:
            raise ValueError("clipping values needs old_values")
        old = floats(old_values)
        near = old + np.clip(v - old, -clip, clip)
        other = (near - r) ** 2
        # Beyond the clip the second term is constant; within it both terms are the same.
        slope = np.where((each >= other) | (np.abs(v - old) <= clip), slope, 0.0)
        each = np.maximum(each, other)
    return Loss(value=float(each.mean()), gradients={"values": slope / len(v)}, each=each)
