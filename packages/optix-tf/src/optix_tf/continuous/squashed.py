"""Gaussian policies squashed into [-1, 1] by tanh (Haarnoja et al. 2018, arXiv:1812.05905, appendix C).

The density of ``a = tanh(u)`` is that of u divided by ``1 - tanh(u)^2``, whose logarithm is computed as
``2 (log 2 - |u| - log(1 + exp(-2 |u|)))``: exact for every u, where ``log(1 - a^2 + 1e-6)`` stops at -13.8.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from optix_core.agents.squashed import LOG_STD_BOUNDS

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
