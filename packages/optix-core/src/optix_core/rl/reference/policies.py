"""Log-probability and entropy of actions under each kind of policy, with gradients by the network's outputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from optix_core.acting import LOG_STD_BOUNDS
from optix_core.rl.reference.loss import Floats, floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """Actions under a policy.

    Attributes:
        log_probs: ``[B]``.
        entropies: ``[B]``.
        d_log_probs: By output, ``[B, ...]``: row b is the gradient of ``log_probs[b]``.
        d_entropies: The same of ``entropies``.
        shapes: Of the outputs; one without a batch axis is shared by all rows.
    """

    log_probs: Floats
    entropies: Floats
    d_log_probs: Mapping[str, Floats]
    d_entropies: Mapping[str, Floats]
    shapes: Mapping[str, tuple[int, ...]]


def categorical(logits: ArrayLike, actions: ArrayLike, masks: ArrayLike | None = None) -> Evaluated:
    """One of A choices: ``log p_a = l_a - log sum_k exp(l_k)``, ``H = -sum p log p``.

    Args:
        logits: ``[B, A]``.
        actions: ``[B]``, from 0.
        masks: ``[B, A]`` bool; what is False has no probability, adds no entropy and gets no gradient.
    """
    l, chosen = floats(logits), np.asarray(actions)  # noqa: E741  # the papers' letter
    rows = np.arange(len(l))
    allowed: NDArray[np.bool_] = np.ones(l.shape, np.bool_) if masks is None else np.asarray(masks, np.bool_)
    top = np.where(allowed, l, -np.inf).max(axis=1, keepdims=True)
    mass = np.where(allowed, np.exp(np.where(allowed, l - top, 0.0)), 0.0)
    log_p = l - top - np.log(mass.sum(axis=1, keepdims=True))
    p = mass / mass.sum(axis=1, keepdims=True)
    plogp = np.where(allowed, p * np.where(allowed, log_p, 0.0), 0.0)
    entropies = -plogp.sum(axis=1)
    log_probs = np.where(allowed[rows, chosen], log_p[rows, chosen], -np.inf)
    d_log_probs = -p
    d_log_probs[rows, chosen] += 1.0
    d_entropies = -(plogp + p * entropies[:, None])
    return Evaluated(
        log_probs=log_probs,
        entropies=entropies,
        d_log_probs={"logits": d_log_probs},
        d_entropies={"logits": d_entropies},
        shapes={"logits": l.shape},
    )


def multi_categorical(
    logits: ArrayLike, actions: ArrayLike, nvec: Sequence[int], masks: ArrayLike | None = None
) -> Evaluated:
    """K independent choices: log-probabilities and entropies of the components add up.

    Args:
        logits: ``[B, sum(nvec)]``, component after component.
        actions: ``[B, K]``, each from 0.
        nvec: Numbers of choices.
        masks: ``[B, sum(nvec)]`` bool.
    """
    l, chosen = floats(logits), np.asarray(actions)  # noqa: E741
    stops = np.cumsum(nvec)
    parts = [
        categorical(
            l[:, stop - n : stop],
            chosen[:, k],
            None if masks is None else np.asarray(masks)[:, stop - n : stop],
        )
        for k, (n, stop) in enumerate(zip(nvec, stops, strict=True))
    ]
    return Evaluated(
        log_probs=np.sum([part.log_probs for part in parts], axis=0),
        entropies=np.sum([part.entropies for part in parts], axis=0),
        d_log_probs={"logits": np.concatenate([part.d_log_probs["logits"] for part in parts], axis=1)},
        d_entropies={"logits": np.concatenate([part.d_entropies["logits"] for part in parts], axis=1)},
        shapes={"logits": l.shape},
    )


def bernoulli(logits: ArrayLike, actions: ArrayLike) -> Evaluated:
    """K independent bits with ``p = 1 / (1 + exp(-l))``.

    Args:
        logits: ``[B, K]``.
        actions: ``[B, K]``, 0 or 1.
    """
    l, bits = floats(logits), floats(actions)  # noqa: E741
    log_one, log_zero = -np.logaddexp(0.0, -l), -np.logaddexp(0.0, l)
    p = np.exp(log_one)
    return Evaluated(
        log_probs=(bits * log_one + (1.0 - bits) * log_zero).sum(axis=1),
        entropies=-(p * log_one + (1.0 - p) * log_zero).sum(axis=1),
        d_log_probs={"logits": bits - p},
        d_entropies={"logits": -l * p * (1.0 - p)},
        shapes={"logits": l.shape},
    )


def gaussian(mean: ArrayLike, log_std: ArrayLike, actions: ArrayLike) -> Evaluated:
    """A independent normal numbers; ``log_std`` is clamped to ``LOG_STD_BOUNDS``, beyond which it has no gradient.

    Args:
        mean: ``[B, A]``.
        log_std: ``[A]``, shared by all rows, or ``[B, A]``.
        actions: ``[B, A]``, unbounded (what the environment gets may be clipped).
    """
    mu, raw, u = floats(mean), floats(log_std), floats(actions)
    low, high = LOG_STD_BOUNDS
    s = np.broadcast_to(np.clip(raw, low, high), mu.shape)
    inside = np.broadcast_to((raw >= low) & (raw <= high), mu.shape).astype(np.float64)
    z = (u - mu) / np.exp(s)
    return Evaluated(
        log_probs=(-0.5 * z**2 - s - 0.5 * math.log(2.0 * math.pi)).sum(axis=1),
        entropies=(s + 0.5 * math.log(2.0 * math.pi * math.e)).sum(axis=1),
        d_log_probs={"mean": z / np.exp(s), "log_std": (z**2 - 1.0) * inside},
        d_entropies={"mean": np.zeros_like(mu), "log_std": inside},
        shapes={"mean": mu.shape, "log_std": raw.shape},
    )
