"""Weights of an ensemble's members from their scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np


def softmax_weights(scores: Mapping[int, float], size: int, spread: float | None = None) -> list[float]:
    """Weights ``[size]`` with sum 1: the softmax of scores in units of their spread.

    Multiplying all scores by a positive number or adding one changes nothing. A member without a finite score counts
    as one with the mean score. Equal scores give equal weights.

    Args:
        scores: By member index.
        size: Number of members.
        spread: What counts as one unit; by default the standard deviation of ``scores``.
    """
    known = {i: float(s) for i, s in scores.items() if math.isfinite(s)}
    mean = math.fsum(known.values()) / len(known) if known else 0.0
    unit = float(np.std(list(known.values()))) if spread is None and known else (spread or 0.0)
    largest = max((abs(s) for s in known.values()), default=0.0)
    if unit <= 1e-12 * largest:  # what differs is rounding
        return [1.0 / size] * size
    z = np.array([(known.get(i, mean) - mean) / unit for i in range(size)])
    weights = np.exp(z - z.max())
    return [float(w) for w in weights / weights.sum()]


def pooled_spread(samples: Sequence[Sequence[float]]) -> float | None:
    """Standard deviation of all recorded scores together; None while no member has two.

    It holds the noise of single scores besides the differences between members, so that members which noise alone tells
    apart get nearly equal weights.
    """
    if not any(len(sample) > 1 for sample in samples):
        return None
    values = [value for sample in samples for value in sample]
    return float(np.std(values))


def normalised(weights: Sequence[float]) -> list[float]:
    """Weights with sum 1; equal ones if the sum is 0."""
    total = math.fsum(weights)
    return [w / total for w in weights] if total > 0 else [1.0 / len(weights)] * len(weights)
