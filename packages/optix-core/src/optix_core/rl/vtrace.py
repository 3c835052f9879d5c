"""V-trace: value targets and policy-gradient advantages from data of an older policy.

Espeholt et al. 2018, "IMPALA" (arXiv:1802.01561), section 4.1, with the trace parameter lambda of its remark 2. All is
time-major, ``[T, N]``, and one column may hold several episodes and the end of the data inside another: the value of
what follows is cut at terminal states only, the trace at every boundary.

With ``rho_bar`` finite the fixed point is the value of the policy proportional to ``min(rho_bar * mu, pi)``; ``c_bar``
changes how fast it is reached, and the variance on the way, but not where it lies.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from optix_core.rl.returns import check_shapes, check_unit

Floats = NDArray[Any]

LOG_RATIO_BOUND = 20.0
"""Logarithms of unclipped probability ratios are kept within plus or minus this, so that ``exp`` cannot overflow."""


@dataclass(frozen=True, slots=True)
class VTrace:
    """What V-trace makes of one window; all are ``[T, N]`` and constants for differentiation.

    Attributes:
        vs: Targets of the critic.
        advantages: What multiplies the gradient of the log-probabilities; importance weights are contained.
        rhos: Probability ratios, not clipped.
        deltas: One-step temporal differences, weighted by the clipped ratios.
    """

    vs: Floats
    advantages: Floats
    rhos: Floats
    deltas: Floats


def vtrace(
    behaviour_log_probs: ArrayLike,
    target_log_probs: ArrayLike,
    rewards: ArrayLike,
    values: ArrayLike,
    next_values: ArrayLike,
    terminated: ArrayLike,
    truncated: ArrayLike,
    *,
    gamma: float,
    lam: float = 1.0,
    rho_bar: float | None = 1.0,
    c_bar: float | None = 1.0,
    pg_rho_bar: float | None = 1.0,
) -> VTrace:
    """Targets and advantages for data that an older policy collected.

    ```
    rho_t = pi / mu          R_t = min(rho_bar, rho_t)     P_t = min(pg_rho_bar, rho_t)
    c_t = lam * min(c_bar, rho_t)
    g_t = gamma, or 0 where step t terminated              k_t = 1, or 0 where the episode or the data end
    delta_t = R_t * (r_t + g_t * V(s'_t) - V(s_t))
    e_t     = delta_t + g_t * k_t * c_t * e_{t+1}          vs_t = V(s_t) + e_t
    A_t     = P_t * (r_t + g_t * q_t - V(s_t))
    q_t     = lam * vs_{t+1} + (1 - lam) * V(s_{t+1}), or V(s'_t) where k_t = 0
    ```

    Where both policies are equal and no bound is below 1, ``A_t`` is GAE(gamma, lam) and ``vs_t`` is ``V + A``.

    Args:
        behaviour_log_probs: ``[T, N]`` of the actions under the policy mu that acted.
        target_log_probs: ``[T, N]`` of the same actions under the policy pi that learns.
        rewards: ``[T, N]``.
        values: ``[T, N]`` value of the observation before each step, by the critic that learns.
        next_values: ``[T, N]`` value of what each step truly led to, before any reset. Ignored, even if NaN, where
            ``terminated``.
        terminated: ``[T, N]`` bool: a terminal state was reached. Wins where both flags are set.
        truncated: ``[T, N]`` bool: the episode was cut, its successor has a value.
        gamma: Discount, in [0, 1].
        lam: Mixing between one-step (0) and full (1) corrections, in [0, 1].
        rho_bar: Bound of the weights of temporal differences; None: no bound.
        c_bar: Bound of the weights of the trace; None: no bound. The paper wants it at most ``rho_bar``.
        pg_rho_bar: Bound of the weights of the policy gradient; None: no bound.

    Returns:
        In float32 if rewards and values are, else in float64.

    Raises:
        ValueError: Shapes differ, are not ``[T, N]``, or a scalar is out of its range.
    """
    check_numbers(gamma, lam, rho_bar, c_bar, pg_rho_bar)
    r, v, following = np.asarray(rewards), np.asarray(values), np.asarray(next_values)
    single = all(x.dtype == np.float32 for x in (r, v))
    dtype = np.dtype(np.float32 if single else np.float64)
    r, v, following = (x.astype(dtype, copy=False) for x in (r, v, following))
    ends, cuts = (np.asarray(x, dtype=np.bool_) for x in (terminated, truncated))
    before, after = (np.asarray(x, dtype=dtype) for x in (behaviour_log_probs, target_log_probs))
    check_shapes(
        rewards=r,
        values=v,
        next_values=following,
        terminated=ends,
        truncated=cuts,
        behaviour_log_probs=before,
        target_log_probs=after,
    )
    with np.errstate(
        invalid="ignore"
    ):  # NaN log-probabilities stay NaN: the caller sees them in what comes out
        rhos = np.exp(np.clip(after - before, -LOG_RATIO_BOUND, LOG_RATIO_BOUND))
    if not r.size:
        return VTrace(v.copy(), v.copy(), rhos, v.copy())
    # Selection, not multiplication by zero: a critic may be NaN on a state that nothing follows.
    bootstrap = np.where(ends, dtype.type(0), following)
    deltas = _bounded(rhos, rho_bar) * (r + gamma * bootstrap - v)
    goes_on = ~(ends | cuts)
    goes_on[-1] = False
    decay = np.where(goes_on, gamma * lam * _bounded(rhos, c_bar), dtype.type(0))
    errors = _corrections(deltas, decay)
    vs = v + errors
    ahead = bootstrap.copy()
    ahead[:-1] = np.where(goes_on[:-1], lam * vs[1:] + (1.0 - lam) * v[1:], bootstrap[:-1])
    advantages = _bounded(rhos, pg_rho_bar) * (r + gamma * ahead - v)
    return VTrace(vs, advantages, rhos, deltas)


def check_numbers(
    gamma: float, lam: float, rho_bar: float | None, c_bar: float | None, pg_rho_bar: float | None
) -> None:
    """Raise ValueError if a number of :func:`vtrace` is out of its range; warn of bounds the theory does not cover."""
    check_unit(gamma=gamma, lam=lam)
    for name, bound in (("rho_bar", rho_bar), ("c_bar", c_bar), ("pg_rho_bar", pg_rho_bar)):
        if bound is not None and not bound >= 0.0:
            raise ValueError(f"{name} is {bound}; it must be at least 0, or None for no bound")
    if (c_bar is None and rho_bar is not None) or (
        c_bar is not None and rho_bar is not None and c_bar > rho_bar
    ):
        warnings.warn(
            f"c_bar ({c_bar}) is above rho_bar ({rho_bar}); V-trace is only known to contract where it is not",
            RuntimeWarning,
            stacklevel=3,
        )


def compute_vtrace_targets(
    rewards: ArrayLike,
    values: ArrayLike,
    behaviour_log_probs: ArrayLike,
    current_log_probs: ArrayLike,
    dones: ArrayLike,
    gamma: float = 0.99,
    rho_bar: float = 1.0,
    c_bar: float = 1.0,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """V-trace for a single stream that cannot tell truncation from termination.

    Every ``done`` counts as a terminal state. Prefer :func:`vtrace`, which bootstraps at time limits.

    Args:
        rewards: ``[T]``.
        values: ``[T + 1]``, the last one of what followed the last step.
        behaviour_log_probs: ``[T]`` under the policy that acted.
        current_log_probs: ``[T]`` under the policy that learns.
        dones: ``[T]`` bool.
        gamma: Discount.
        rho_bar: Bound of the weights of temporal differences and of the policy gradient.
        c_bar: Bound of the weights of the trace.

    Returns:
        Value targets and advantages, both ``[T]`` float32.

    Raises:
        ValueError: ``values`` is not one longer than the rest, or another argument is out of its range.
    """
    r, v = np.asarray(rewards, np.float64), np.asarray(values, np.float64)
    if r.ndim != 1 or v.shape != (len(r) + 1,):
        raise ValueError(f"expected rewards [T] and values [T + 1]; got {r.shape} and {v.shape}")
    before, after = np.asarray(behaviour_log_probs), np.asarray(current_log_probs)
    found = vtrace(
        before[:, None],
        after[:, None],
        r[:, None],
        v[:-1, None],
        v[1:, None],
        np.asarray(dones, np.bool_)[:, None],
        np.zeros((len(r), 1), np.bool_),
        gamma=gamma,
        rho_bar=rho_bar,
        c_bar=c_bar,
        pg_rho_bar=rho_bar,
    )
    return found.vs[:, 0].astype(np.float32), found.advantages[:, 0].astype(np.float32)


def _bounded(rhos: Floats, bound: float | None) -> Floats:
    return rhos if bound is None else np.minimum(rhos, rhos.dtype.type(bound))


def _corrections(deltas: Floats, decay: Floats) -> Floats:
    """``e_t = delta_t + decay_t * e_{t+1}``, ``[T, N]``, from the last row to the first."""
    errors = deltas.copy()
    for t in range(len(errors) - 2, -1, -1):
        # NaN of a later step must not pass where the trace is cut: such columns have decay exactly 0
        errors[t] += np.where(decay[t] != 0.0, decay[t] * errors[t + 1], 0.0)
    return errors
