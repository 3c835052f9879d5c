"""Gaussian policies squashed into [-1, 1] by tanh (Haarnoja et al. 2018, arXiv:1812.05905, appendix C).

The density of ``a = tanh(u)`` is that of u divided by ``1 - tanh(u)^2``, whose logarithm is computed as
``2 (log 2 - |u| - log(1 + exp(-2 |u|)))``: exact for every u, where ``log(1 - a^2 + 1e-6)`` stops at -13.8.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

LOG_STD_BOUNDS = (-20.0, 2.0)
"""What logarithms of standard deviations are clamped to; beyond, they have no gradient.

The upper bound keeps u where tanh still has a slope: at exp(2) most draws are saturated already. The lower one only
prevents an underflow and binds nothing, so that the temperature alone decides how deterministic a policy becomes.
"""

_LOG_2_PI, _LOG_2 = math.log(2.0 * math.pi), math.log(2.0)


def sample(outputs: Any, noise: Any) -> tuple[Any, Any]:
    """Actions ``tanh(mean + std * noise)`` and the logarithms of their densities, as functions of the outputs.

    Args:
        outputs: ``[B, 2 A]`` tensor, means followed by logarithms of standard deviations.
        noise: ``[B, A]`` tensor of the same type, standard normal draws.

    Returns:
        ``[B, A]`` actions and ``[B]`` log-densities.
    """
    mean, raw = tf.split(outputs, 2, axis=1)
    log_std = tf.clip_by_value(raw, *LOG_STD_BOUNDS)
    u = mean + tf.exp(log_std) * noise
    size = tf.abs(u)
    correction = 2.0 * (_LOG_2 - size - tf.math.log1p(tf.exp(-2.0 * size)))
    densities = -0.5 * (noise * noise + _LOG_2_PI) - log_std - correction
    return tf.tanh(u), tf.reduce_sum(densities, axis=1)


def act(outputs: NDArray[Any], rng: np.random.Generator | None) -> NDArray[np.float32]:
    """Actions ``[N, A]`` for ``outputs`` ``[N, 2 A]``: drawn from ``rng``, or tanh of the means without one."""
    mean, log_std = np.split(outputs, 2, axis=1)
    if rng is None:
        return np.tanh(mean).astype(np.float32, copy=False)
    spread = np.exp(np.clip(log_std, *LOG_STD_BOUNDS))
    return np.tanh(mean + spread * rng.standard_normal(mean.shape, np.float32)).astype(np.float32, copy=False)
