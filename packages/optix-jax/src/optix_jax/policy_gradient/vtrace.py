"""V-trace for JAX arrays: the numbers of :func:`optix_core.rl.vtrace.vtrace`, in one compiled call on any device."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer
from jax.typing import ArrayLike

from optix_core.rl.vtrace import LOG_RATIO_BOUND, check_numbers


class VTrace(NamedTuple):
    """What V-trace makes of one window; all are ``[T, N]`` and constants for differentiation.

    Attributes:
        vs: Targets of the critic.
        advantages: What multiplies the gradient of the log-probabilities; importance weights are contained.
        rhos: Probability ratios, not clipped.
        deltas: One-step temporal differences, weighted by the clipped ratios.
    """

    vs: jax.Array
    advantages: jax.Array
    rhos: jax.Array
    deltas: jax.Array


def vtrace(
    behaviour_log_probs: ArrayLike,
    target_log_probs: ArrayLike,
    rewards: ArrayLike,
    values: ArrayLike,
    next_values: ArrayLike,
    terminated: ArrayLike,
    truncated: ArrayLike,
    *,
    gamma: ArrayLike,
    lam: ArrayLike = 1.0,
    rho_bar: ArrayLike | None = 1.0,
    c_bar: ArrayLike | None = 1.0,
    pg_rho_bar: ArrayLike | None = 1.0,
) -> VTrace:
    """Targets and advantages (Espeholt et al. 2018, arXiv:1802.01561, section 4.1); the formulas are told in core.

    May be called inside ``jax.jit``, ``jax.vmap`` and ``jax.grad``. New numbers compile nothing; new shapes do, and a
    bound that becomes None or ceases to be.

    Args:
        behaviour_log_probs: ``[T, N]`` under the policy that acted.
        target_log_probs: ``[T, N]`` under the policy that learns; no gradient flows through the results.
        rewards: ``[T, N]``.
        values: ``[T, N]``.
        next_values: ``[T, N]`` of true successors; ignored, even if NaN, where ``terminated``.
        terminated: ``[T, N]`` bool. Wins where both flags are set.
        truncated: ``[T, N]`` bool.
        gamma: Discount, in [0, 1].
        lam: In [0, 1].
        rho_bar: Bound of the weights of temporal differences; None: no bound.
        c_bar: Bound of the weights of the trace; None: no bound.
        pg_rho_bar: Bound of the weights of the policy gradient; None: no bound.

    Returns:
        In the wider type of rewards and values, at least float32; float64 only where JAX has been told to allow it.

    Raises:
        ValueError: Shapes differ or are not ``[T, N]``, or a number is out of its range. Numbers are not looked at if
            one of them is traced.
    """
    arrays = [
        jnp.asarray(x)
        for x in (behaviour_log_probs, target_log_probs, rewards, values, next_values, terminated, truncated)
    ]
    shapes = [x.shape for x in arrays]
    if len(shapes[0]) != 2 or any(shape != shapes[0] for shape in shapes):
        raise ValueError(f"all arrays must be [T, N] of one shape; got {shapes}")
    numbers = (gamma, lam, rho_bar, c_bar, pg_rho_bar)
    if not any(isinstance(x, Tracer) for x in numbers):
        check_numbers(*(None if x is None else float(x) for x in numbers))  # type: ignore[arg-type]
    dtype = jnp.result_type(arrays[2], arrays[3], jnp.float32)
    floats = [x.astype(dtype) for x in arrays[:5]]
    flags = [x.astype(jnp.bool_) for x in arrays[5:]]
    return _vtrace(*floats, *flags, *(None if x is None else jnp.asarray(x, dtype) for x in numbers))


@jax.jit
def _vtrace(
    before: jax.Array,
    after: jax.Array,
    r: jax.Array,
    v: jax.Array,
    following: jax.Array,
    ends: jax.Array,
    cuts: jax.Array,
    gamma: jax.Array,
    lam: jax.Array,
    rho_bar: jax.Array | None,
    c_bar: jax.Array | None,
    pg_rho_bar: jax.Array | None,
) -> VTrace:
    before, after, r, v, following = lax.stop_gradient((before, after, r, v, following))
    rhos = jnp.exp(jnp.clip(after - before, -LOG_RATIO_BOUND, LOG_RATIO_BOUND))
    # Selection, not multiplication by zero: a critic may be NaN on a state that nothing follows.
    bootstrap = jnp.where(ends, 0.0, following)
    deltas = _bounded(rhos, rho_bar) * (r + gamma * bootstrap - v)
    is_last = jnp.arange(len(r)) == len(r) - 1
    goes_on = ~(ends | cuts | is_last[:, None])
    decay = gamma * lam * _bounded(rhos, c_bar)

    def back(error: jax.Array, row: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        delta, weight, on = row
        error = delta + jnp.where(on & (weight != 0.0), weight * error, 0.0)
        return error, error

    _, errors = lax.scan(back, jnp.zeros_like(r, shape=r.shape[1:]), (deltas, decay, goes_on), reverse=True)
    vs = v + errors
    ahead = lam * jnp.roll(vs, -1, axis=0) + (1.0 - lam) * jnp.roll(v, -1, axis=0)
    advantages = _bounded(rhos, pg_rho_bar) * (r + gamma * jnp.where(goes_on, ahead, bootstrap) - v)
    return VTrace(vs, advantages, rhos, deltas)


def _bounded(rhos: jax.Array, bound: jax.Array | None) -> jax.Array:
    return rhos if bound is None else jnp.minimum(rhos, bound)
