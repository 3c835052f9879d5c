"""What a draw from replay hands to a learner, and the n-step arithmetic behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """B transitions over up to n steps each; fresh arrays that nobody else holds.

    A target is ``rewards + discounts * value(next_observations)``: whether anything follows, and how far away it
    is, lies in ``discounts`` alone.

    Attributes:
        observations: ``[B, *obs]``, dtype as stored (records for Dict and Tuple spaces).
        actions: ``[B, *act]`` as the policy emitted them.
        rewards: ``[B]`` float32, ``sum_{k < m} gamma^k r_{t+k}`` over the m <= n steps that there are.
        next_observations: ``[B, *obs]`` after the m-th step, before any reset.
        discounts: ``[B]`` float32: ``gamma^m``; 0 where the m-th step terminated. Truncation keeps ``gamma^m``.
        weights: ``[B]`` float32 importance weights, ones where the draw is uniform.
        indices: ``[B]`` int64 rows of the buffer, for ``update_priorities``.
    """

    observations: NDArray[Any]
    actions: NDArray[Any]
    rewards: NDArray[np.float32]
    next_observations: NDArray[Any]
    discounts: NDArray[np.float32]
    weights: NDArray[np.float32]
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indices)


@dataclass(frozen=True, slots=True, kw_only=True)
class NStepTargets:
    """Sums over the first steps of B paths.

    Attributes:
        rewards: ``[B]`` float32, the discounted sum.
        discounts: ``[B]`` float32, what the value at the end counts.
        steps: ``[B]`` int64, how many steps were summed, 1 to n.
        terminated: ``[B]`` bool, the last of them reached a terminal state.
    """

    rewards: NDArray[np.float32]
    discounts: NDArray[np.float32]
    steps: NDArray[np.int64]
    terminated: NDArray[np.bool_]


def n_step_targets(
    rewards: NDArray[Any], terminated: NDArray[np.bool_], stops: NDArray[np.bool_], gamma: float
) -> NStepTargets:
    """Truncated n-step returns (Sutton and Barto 2018, equation 7.1) that end at the first stop.

    Args:
        rewards: ``[B, n]`` along each path; what lies behind a stop is not read.
        terminated: ``[B, n]``: the step reached a terminal state; also a stop.
        stops: ``[B, n]``: the path does not go on after this step.
        gamma: Discount, in [0, 1].

    >>> none, last = np.zeros((1, 3), bool), np.array([[False, True, False]])
    >>> targets = n_step_targets(np.array([[1.0, 1.0, 9.0]]), none, last, 0.5)
    >>> targets.rewards, targets.discounts, targets.steps
    (array([1.5], dtype=float32), array([0.25], dtype=float32), array([2]))
    """
    if not 0.0 <= gamma <= 1.0:
        raise ValueError(f"gamma is {gamma}; it must lie in [0, 1]")
    n = int(rewards.shape[1])
    ends = stops | terminated
    ends[:, -1] = True
    last: NDArray[np.int64] = ends.argmax(axis=1)
    over = terminated[np.arange(len(last)), last]
    powers = gamma ** np.arange(n + 1, dtype=np.float64)
    # Selection, not multiplication by zero: what lies behind the end is no part of the path.
    reached = np.less_equal(np.arange(n, dtype=np.int64), last[:, None])
    within = np.where(reached, rewards * powers[:-1], 0.0)
    return NStepTargets(
        rewards=within.sum(axis=1).astype(np.float32),
        discounts=np.where(over, 0.0, powers[last + 1]).astype(np.float32),
        steps=last + 1,
        terminated=over,
    )
