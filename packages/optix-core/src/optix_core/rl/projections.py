"""Distributions over a fixed set of returns (C51; Bellemare et al. 2017, arXiv:1707.06887).

The float64 reference: backends compute the same in their own arithmetic and are tested against this.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def categorical_support(v_min: float, v_max: float, n_atoms: int) -> Floats:
    """``[n_atoms]``: the returns that a distribution can put mass on, evenly spaced from ``v_min`` to ``v_max``.

    Raises:
        ValueError: Fewer than two atoms, or ``v_min`` is not below ``v_max``.
    """
    if n_atoms < 2 or not -np.inf < v_min < v_max < np.inf:
        raise ValueError(
            f"a support needs at least 2 atoms and finite v_min < v_max; got {n_atoms} atoms, [{v_min}, {v_max}]"
        )
    return np.linspace(v_min, v_max, n_atoms)


def project_categorical(
    probabilities: ArrayLike, rewards: ArrayLike, discounts: ArrayLike, support: Floats
) -> Floats:
    """The distribution of ``reward + discount * z`` put back on the support (algorithm 1 there).

    Every atom's mass goes to its two neighbours in proportion to nearness; mass beyond an end goes to that end. An atom
    that lands on one of the support, as all do where ``discount`` is 0 and the reward is an atom, keeps its mass in one
    piece: the two neighbours coincide there, and weights taken as distances to both would add up to 0.

    Args:
        probabilities: ``[B, n_atoms]`` of the next state, each row summing to 1.
        rewards: ``[B]``.
        discounts: ``[B]``: gamma to the number of steps, 0 where the episode terminated.
        support: ``[n_atoms]`` of :func:`categorical_support`.

    Returns:
        ``[B, n_atoms]`` float64; each row has the sum of the row it came from.

    Raises:
        ValueError: Shapes do not agree.

    >>> z = categorical_support(0.0, 2.0, 3)
    >>> project_categorical([[0.0, 0.0, 1.0]], [0.5], [0.5], z)
    array([[0. , 0.5, 0.5]])
    >>> project_categorical([[0.2, 0.3, 0.5]], [2.0], [0.0], z)
    array([[0., 0., 1.]])
    """
    p, r, d = (np.asarray(x, dtype=np.float64) for x in (probabilities, rewards, discounts))
    n = len(support)
    if p.ndim != 2 or p.shape[1] != n or r.shape != (len(p),) or d.shape != (len(p),):
        raise ValueError(
            f"expected probabilities [B, {n}], rewards [B] and discounts [B]; got {p.shape}, {r.shape}, {d.shape}"
        )
    low, high = float(support[0]), float(support[-1])
    position = (r[:, None] + d[:, None] * support - low) / ((high - low) / (n - 1))
    # Clamped after the division, whose rounding may lead beyond the last atom once more.
    position = np.clip(position, 0.0, n - 1.0)
    left = np.minimum(position.astype(np.int64), n - 2)
    to_right = p * (position - left)
    projected = np.zeros_like(p)
    rows = np.broadcast_to(np.arange(len(p))[:, None], p.shape)
    np.add.at(projected, (rows, left), p - to_right)
    np.add.at(projected, (rows, left + 1), to_right)
    return projected


def clipped_share(
    probabilities: ArrayLike, rewards: ArrayLike, discounts: ArrayLike, support: Floats
) -> float:
    """Share of the targets' mass that lies beyond the support and is moved to its ends, 0 to 1.

    Args:
        probabilities: As for :func:`project_categorical`, like the other arguments.
        rewards: ``[B]``.
        discounts: ``[B]``.
        support: ``[n_atoms]``.
    """
    p, r, d = (np.asarray(x, dtype=np.float64) for x in (probabilities, rewards, discounts))
    targets = r[:, None] + d[:, None] * support
    slack = 1e-6 * (support[1] - support[0])
    beyond = (targets < support[0] - slack) | (targets > support[-1] + slack)
    return float((p * beyond).sum() / max(p.sum(), np.finfo(np.float64).tiny))
