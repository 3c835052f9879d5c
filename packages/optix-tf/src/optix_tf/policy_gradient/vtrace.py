"""V-trace for TensorFlow: the numbers of :func:`optix_core.rl.vtrace.vtrace`, as one graph on any device."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from optix_core.rl.vtrace import LOG_RATIO_BOUND, check_numbers


class VTrace(NamedTuple):
    """What V-trace makes of one window; all are tensors ``[T, N]`` and constants for differentiation.

    Attributes:
        vs: Targets of the critic.
        advantages: What multiplies the gradient of the log-probabilities; importance weights are contained.
        rhos: Probability ratios, not clipped.
        deltas: One-step temporal differences, weighted by the clipped ratios.
    """

    vs: Any
    advantages: Any
    rhos: Any
    deltas: Any


def vtrace(
    behaviour_log_probs: Any,
    target_log_probs: Any,
    rewards: Any,
    values: Any,
    next_values: Any,
    terminated: Any,
    truncated: Any,
    *,
    gamma: Any,
    lam: Any = 1.0,
    rho_bar: Any = 1.0,
    c_bar: Any = 1.0,
    pg_rho_bar: Any = 1.0,
) -> VTrace:
    """Targets and advantages (Espeholt et al. 2018, arXiv:1802.01561, section 4.1); the formulas are told in core.

    May be called inside ``tf.function``, with XLA or without. Outside, new numbers trace nothing anew; new types do,
    new shapes a few times, and a bound that becomes None or ceases to be.

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
        In float32 if rewards and values are, else in float64.

    Raises:
        ValueError: Shapes differ or are not ``[T, N]``, or a number is out of its range. Sizes that are unknown while a
            graph is made are not compared, nor are numbers looked at if one of them is a tensor or a variable.
    """
    numbers = (gamma, lam, rho_bar, c_bar, pg_rho_bar)
    if not any(isinstance(x, tf.Tensor | tf.Variable) for x in numbers):
        check_numbers(*numbers)
    floats = [
        tf.convert_to_tensor(x) for x in (behaviour_log_probs, target_log_probs, rewards, values, next_values)
    ]
    flags = [tf.cast(tf.convert_to_tensor(x), tf.bool) for x in (terminated, truncated)]
    shapes = [x.shape for x in (*floats, *flags)]
    if any(shape.rank not in {2, None} or not shape.is_compatible_with(shapes[0]) for shape in shapes):
        raise ValueError(f"all tensors must be [T, N] of one shape; got {[str(shape) for shape in shapes]}")
    dtype = tf.float32 if floats[2].dtype == floats[3].dtype == tf.float32 else tf.float64
    return _vtrace(
        *(tf.cast(x, dtype) for x in floats),
        *flags,
        *(None if x is None else _number(x, dtype) for x in numbers),
    )


@tf.function(reduce_retracing=True)
def _vtrace(
    before: Any,
    after: Any,
    r: Any,
    v: Any,
    following: Any,
    ends: Any,
    cuts: Any,
    gamma: Any,
    lam: Any,
    rho_bar: Any,
    c_bar: Any,
    pg_rho_bar: Any,
) -> VTrace:
    before, after, r, v, following = (tf.stop_gradient(x) for x in (before, after, r, v, following))
    bound = tf.cast(LOG_RATIO_BOUND, r.dtype)
    rhos = tf.exp(tf.minimum(tf.maximum(after - before, -bound), bound))
    # Selection, not multiplication by zero: a critic may be NaN on a state that nothing follows.
    bootstrap = tf.where(ends, tf.zeros_like(following), following)
    deltas = _bounded(rhos, rho_bar) * (r + gamma * bootstrap - v)
    steps = tf.shape(r)[0]
    is_last = tf.equal(tf.range(steps), steps - 1)[:, None]
    goes_on = ~(ends | cuts | is_last)
    decay = tf.where(goes_on, gamma * lam * _bounded(rhos, c_bar), tf.zeros_like(r))

    def back(error: Any, row: Any) -> Any:
        delta, weight = row
        return delta + tf.where(weight != 0, weight * error, tf.zeros_like(delta))

    # one row of zeros behind the last: a scan of no rows at all fails where their number is unknown while tracing
    padded = tuple(tf.pad(x, [[0, 1], [0, 0]]) for x in (deltas, decay))
    errors = tf.scan(back, padded, tf.zeros(tf.shape(r)[1:], r.dtype), reverse=True)[:-1]
    vs = v + errors
    ahead = lam * tf.roll(vs, -1, axis=0) + (1 - lam) * tf.roll(v, -1, axis=0)
    advantages = _bounded(rhos, pg_rho_bar) * (r + gamma * tf.where(goes_on, ahead, bootstrap) - v)
    return VTrace(vs, advantages, rhos, deltas)


def _number(x: Any, dtype: Any) -> Any:
    # tf.cast would round a Python number to float32 on the way to float64
    return tf.cast(x, dtype) if isinstance(x, tf.Tensor | tf.Variable) else tf.constant(x, dtype)


def _bounded(rhos: Any, bound: Any) -> Any:
    return rhos if bound is None else tf.minimum(rhos, bound)
