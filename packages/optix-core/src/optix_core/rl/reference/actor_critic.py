"""Losses and targets of soft actor-critic and TD3, for actions in [-1, 1]."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from optix_core.acting import LOG_STD_BOUNDS
from optix_core.rl.reference.loss import Floats, Loss, floats, sample_weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Squashed:
    """Actions ``a = tanh(mean + std * noise)``.

    Attributes:
        actions: ``[B, A]``.
        log_probs: ``[B]``, densities of ``actions``.
        d_actions: By ``"mean"`` and ``"log_std"``, ``[B, A]``: action i depends on output i alone.
        d_log_probs: By the same, ``[B, A]``.
    """

    actions: Floats
    log_probs: Floats
    d_actions: Mapping[str, Floats]
    d_log_probs: Mapping[str, Floats]


def squashed_gaussian(
    mean: ArrayLike,
    log_std: ArrayLike,
    noise: ArrayLike,
    *,
    log_std_bounds: tuple[float, float] = LOG_STD_BOUNDS,
) -> Squashed:
    """Reparametrised actions with their exact density (Haarnoja et al. 2018, arXiv:1812.05905, appendix C).

    The change of variables subtracts ``log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2u))`` per dimension. The
    right-hand side is exact for every u; the left one has lost all digits at |u| = 19, and ``log(1 - a^2 + 1e-6)``
    stops at -13.8.

    Args:
        mean: ``[B, A]``.
        log_std: ``[B, A]``, clamped to ``log_std_bounds``, beyond which it has no gradient.
        noise: ``[B, A]``, standard normal draws, constants.
        log_std_bounds: Of the clamp.
    """
    mu, raw, eps = floats(mean), floats(log_std), floats(noise)
    low, high = log_std_bounds
    s = np.clip(raw, low, high)
    inside = ((raw >= low) & (raw <= high)).astype(np.float64)
    u = mu + np.exp(s) * eps
    a = np.tanh(u)
    correction = 2.0 * (math.log(2.0) - u - np.logaddexp(0.0, -2.0 * u))
    log_probs = (-0.5 * eps**2 - s - 0.5 * math.log(2.0 * math.pi) - correction).sum(axis=1)
    d_u = np.exp(s) * eps * inside  # by log_std; by mean it is 1
    slope = np.exp(correction)  # 1 - a^2 without cancellation
    return Squashed(
        actions=a,
        log_probs=log_probs,
        d_actions={"mean": slope, "log_std": slope * d_u},
        d_log_probs={"mean": 2.0 * a, "log_std": 2.0 * a * d_u - inside},
    )


def soft_targets(
    rewards: ArrayLike,
    discounts: ArrayLike,
    next_q1: ArrayLike,
    next_q2: ArrayLike,
    next_log_probs: ArrayLike,
    alpha: float,
) -> Floats:
    """``y = r + d (min(Q1', Q2')(s', a') - alpha log p(a' | s'))``, ``[B]`` (SAC, eq. 5 with 3).

    Args:
        rewards: ``[B]``.
        discounts: ``[B]``: gamma to the number of steps, 0 where the episode terminated.
        next_q1: ``[B]``, of the first target critic for an action a' of the present policy.
        next_q2: ``[B]``, of the second.
        next_log_probs: ``[B]`` of a'.
        alpha: The temperature.
    """
    least = np.minimum(floats(next_q1), floats(next_q2))
    return floats(rewards) + floats(discounts) * (least - alpha * floats(next_log_probs))


def twin_critic_loss(
    q1: ArrayLike, q2: ArrayLike, targets: ArrayLike, weights: ArrayLike | None = None, *, factor: float = 1.0
) -> Loss:
    """``factor * (mean(w (Q1 - y)^2) + mean(w (Q2 - y)^2))``, by ``"q1"`` and ``"q2"``.

    Args:
        q1: ``[B]``.
        q2: ``[B]``.
        targets: ``[B]``, y, a constant.
        weights: ``[B]``.
        factor: 1 as TD3 has it (Fujimoto et al. 2018, arXiv:1802.09477, alg. 1), 1/2 as SAC does (its eq. 5).
    """
    errors = np.stack([floats(q1), floats(q2)]) - floats(targets)
    n = errors.shape[1]
    w = sample_weights(weights, n)
    slopes = factor * 2.0 * w * errors / n
    each = factor * (errors**2).sum(axis=0)
    return Loss(value=float((w * each).mean()), gradients={"q1": slopes[0], "q2": slopes[1]}, each=each)


def sac_actor_loss(
    policy: Squashed, q1: ArrayLike, q2: ArrayLike, d_q1: ArrayLike, d_q2: ArrayLike, alpha: float
) -> Loss:
    """``mean(alpha log p(a | s) - min(Q1, Q2)(s, a))``, by ``"mean"`` and ``"log_std"`` (SAC, eq. 7).

    Args:
        policy: Reparametrised actions a.
        q1: ``[B]``, of the first critic for them.
        q2: ``[B]``, of the second.
        d_q1: ``[B, A]``, gradient of ``q1`` by the actions: what the critic passes back.
        d_q2: ``[B, A]``.
        alpha: The temperature, a constant here.
    """
    first, second = floats(q1), floats(q2)
    n = len(first)
    each = alpha * policy.log_probs - np.minimum(first, second)
    d_least = np.where((first <= second)[:, None], floats(d_q1), floats(d_q2))
    gradients = {
        name: (alpha * policy.d_log_probs[name] - d_least * policy.d_actions[name]) / n
        for name in policy.d_actions
    }
    return Loss(value=float(each.mean()), gradients=gradients, each=each)


def temperature_loss(
    log_alpha: float, log_probs: ArrayLike, target_entropy: float, *, by_alpha: bool = False
) -> Loss:
    """``-mean(log(alpha) (log p + target))``, by ``"log_alpha"``: alpha falls while the entropy exceeds its target.

    Args:
        log_alpha: log(alpha), the parameter.
        log_probs: ``[B]`` of actions of the present policy, constants.
        target_entropy: ``-A`` for A dimensions, by default.
        by_alpha: Multiply by alpha instead of its logarithm, as eq. 18 of the SAC paper has it: alpha then scales the
            gradient.
    """
    gap = float((floats(log_probs) + target_entropy).mean())
    alpha = math.exp(log_alpha)
    value, slope = (-alpha * gap, -alpha * gap) if by_alpha else (-log_alpha * gap, -gap)
    return Loss(value=value, gradients={"log_alpha": np.array(slope)})


def smoothed_actions(actions: ArrayLike, noise: ArrayLike, noise_clip: float) -> Floats:
    """``clip(a + clip(noise, -c, c), -1, 1)``: the next action of TD3's targets (its eq. 14), ``[B, A]``.

    Args:
        actions: ``[B, A]``, of the target actor, in [-1, 1].
        noise: ``[B, A]``, normal with the standard deviation of the smoothing.
        noise_clip: c.
    """
    return np.clip(floats(actions) + np.clip(floats(noise), -noise_clip, noise_clip), -1.0, 1.0)


def td3_targets(rewards: ArrayLike, discounts: ArrayLike, next_q1: ArrayLike, next_q2: ArrayLike) -> Floats:
    """``y = r + d min(Q1', Q2')``, ``[B]`` (TD3, eq. 10); arguments as for :func:`soft_targets`."""
    return floats(rewards) + floats(discounts) * np.minimum(floats(next_q1), floats(next_q2))


def td3_actor_loss(q1: ArrayLike, d_q1: ArrayLike) -> Loss:
    """``-mean(Q1(s, mu(s)))``, by ``"actions"``; the second critic takes no part.

    Args:
        q1: ``[B]``.
        d_q1: ``[B, A]``, gradient of ``q1`` by the actions.
    """
    q = floats(q1)
    return Loss(value=-float(q.mean()), gradients={"actions": -floats(d_q1) / len(q)}, each=-q)
