"""What a step was worth: advantages and discounted returns of one window.

Everything here is time-major, ``[T, N]``, float64, computed once per window and shared by all backends.
``terminated`` and ``boundary`` (terminated or truncated) are different questions: the first says that nothing has value
after the step, the second that the next row belongs to another episode.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def generalized_advantage_estimation(
    rewards: ArrayLike,
    values: ArrayLike,
    next_values: ArrayLike,
    terminated: ArrayLike,
    boundary: ArrayLike,
    *,
    gamma: float,
    gae_lambda: float,
) -> Floats:
    """Advantages by GAE(lambda), Schulman et al. 2016 (arXiv:1506.02438), equation 16.

    ```
    delta_t = r_t + gamma * V(s_{t+1}) - V(s_t)         V(s_{t+1}) counts as 0 where step t terminated
    A_t     = delta_t + gamma * lambda * A_{t+1}        A_{t+1}    counts as 0 where step t ended its episode
    ```

    ``A + values`` are the lambda-returns, the targets of a critic.

    Args:
        rewards: ``[T, N]``.
        values: ``[T, N]`` value of the observation before each step.
        next_values: ``[T, N]`` value of the observation each step truly led to, before any reset. Ignored, even
            if NaN, where ``terminated``.
        terminated: ``[T, N]`` bool: a terminal state was reached.
        boundary: ``[T, N]`` bool: the episode ended, for whichever reason.
        gamma: Discount, in [0, 1].
        gae_lambda: Mixing between one-step (0) and full returns (1), in [0, 1].

    Returns:
        ``[T, N]`` float64.

    Raises:
        ValueError: Shapes differ, are not ``[T, N]``, or a scalar is outside [0, 1].

    >>> one, no = np.ones((3, 1)), np.zeros((3, 1), bool)
    >>> generalized_advantage_estimation(one, 0 * one, 0 * one, no, no, gamma=0.5, gae_lambda=1.0).ravel()
    array([1.75, 1.5 , 1.  ])
    """
    check_unit(gamma=gamma, gae_lambda=gae_lambda)
    r, v, following = (np.asarray(x, dtype=np.float64) for x in (rewards, values, next_values))
    ends, cuts = (np.asarray(x, dtype=np.bool_) for x in (terminated, boundary))
    check_shapes(rewards=r, values=v, next_values=following, terminated=ends, boundary=cuts)
    # Selection, not multiplication by zero: a critic may be NaN on a state that nothing follows.
    deltas = r + gamma * np.where(ends, 0.0, following) - v
    return _backward_sums(deltas, cuts | ends, gamma * gae_lambda)


def discounted_returns(
    rewards: ArrayLike,
    next_values: ArrayLike,
    terminated: ArrayLike,
    boundary: ArrayLike,
    *,
    gamma: float,
) -> Floats:
    """Discounted sums of rewards within each episode, bootstrapped where the data stops before the episode does.

    ```
    G_t = r_t                                  step t terminated
    G_t = r_t + gamma * next_values_t          step t was truncated, or is the last of the window
    G_t = r_t + gamma * G_{t+1}                otherwise
    ```

    Args:
        rewards: ``[T, N]``.
        next_values: ``[T, N]`` value of each step's true successor; read only where the second line applies.
        terminated: ``[T, N]`` bool.
        boundary: ``[T, N]`` bool, terminated or truncated.
        gamma: Discount, in [0, 1].

    Returns:
        ``[T, N]`` float64.

    Raises:
        ValueError: As for :func:`generalized_advantage_estimation`.
    """
    check_unit(gamma=gamma)
    r, following = (np.asarray(x, dtype=np.float64) for x in (rewards, next_values))
    ends, cuts = (np.asarray(x, dtype=np.bool_) for x in (terminated, boundary))
    check_shapes(rewards=r, next_values=following, terminated=ends, boundary=cuts)
    stops = cuts | ends
    bootstrapped = stops & ~ends
    bootstrapped[-1:] |= ~ends[-1:]
    return _backward_sums(r + np.where(bootstrapped, gamma * following, 0.0), stops, gamma)


def compute_gae(
    rewards: ArrayLike,
    values: ArrayLike,
    dones: ArrayLike,
    gamma: float = 0.99,
    gae_lambda: float = 0.95,
    last_value: float = 0.0,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """GAE for a single stream that cannot tell truncation from termination.

    Every ``done`` counts as a terminal state. Prefer :func:`generalized_advantage_estimation`, which bootstraps at
    time limits.

    Args:
        rewards: ``[T]``.
        values: ``[T]``.
        dones: ``[T]`` bool.
        gamma: Discount.
        gae_lambda: Mixing.
        last_value: Value of the observation after the last step.

    Returns:
        Advantages and lambda-returns, both ``[T]`` float32.
    """
    r, v = (np.asarray(x, dtype=np.float64) for x in (rewards, values))
    ends = np.asarray(dones, dtype=np.bool_)
    if r.ndim != 1 or v.shape != r.shape or ends.shape != r.shape:
        raise ValueError(
            f"expected three arrays [T]; got rewards {r.shape}, values {v.shape}, dones {ends.shape}"
        )
    following = np.append(v[1:], float(last_value))[: len(v)]
    column = ends[:, None]
    advantages = generalized_advantage_estimation(
        r[:, None], v[:, None], following[:, None], column, column, gamma=gamma, gae_lambda=gae_lambda
    )[:, 0]
    return advantages.astype(np.float32), (advantages + v).astype(np.float32)


def explained_variance(values: ArrayLike, targets: ArrayLike) -> float:
    """``1 - Var[targets - values] / Var[targets]``: 1 is a perfect critic, 0 no better than the mean.

    NaN if the targets do not vary (the question has no answer then).
    """
    v, y = np.asarray(values, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    if v.shape != y.shape:
        raise ValueError(f"values {v.shape} and targets {y.shape} differ in shape")
    variance = float(y.var()) if y.size else 0.0
    return float("nan") if variance == 0.0 else 1.0 - float((y - v).var()) / variance


def _backward_sums(terms: Floats, stops: NDArray[np.bool_], decay: float) -> Floats:
    """``S_t = terms_t + decay * S_{t+1}``, started afresh where ``stops``; time-major columns."""
    # Python floats: numpy scalars or one array operation per row would cost several times more for the usual N.
    sums = np.empty_like(terms)
    for n in range(terms.shape[1]):
        carry = 0.0
        column: list[float] = []
        for term, stop in zip(terms[::-1, n].tolist(), stops[::-1, n].tolist(), strict=True):
            carry = term if stop else term + decay * carry
            column.append(carry)
        sums[::-1, n] = column
    return sums


def check_shapes(**arrays: NDArray[Any]) -> None:
    """Raise ValueError unless all arrays are ``[T, N]`` with the shape of ``rewards``."""
    shapes = {name: array.shape for name, array in arrays.items()}
    lead = shapes["rewards"]
    wrong = [f"{name} {shape}" for name, shape in shapes.items() if shape != lead]
    if wrong or len(lead) != 2:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"all arrays must be [T, N] of one shape; got {listed}")


def check_unit(**scalars: float) -> None:
    """Raise ValueError unless all numbers lie in [0, 1]."""
    for name, value in scalars.items():
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"{name} is {value}; it must lie in [0, 1]")
