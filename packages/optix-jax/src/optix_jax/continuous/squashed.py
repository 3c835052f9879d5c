"""Gaussian policies squashed into [-1, 1] by tanh (Haarnoja et al. 2018, arXiv:1812.05905, appendix C).

The density of ``a = tanh(u)`` is that of u divided by ``1 - tanh(u)^2``, whose logarithm is computed as
``2 (log 2 - u - softplus(-2u))``, written with |u| because it is even: exact for every u, where
``log(1 - a^2 + 1e-6)`` stops at -13.8.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from optix_core.agents.squashed import LOG_STD_BOUNDS

_LOG_2_PI, _LOG_2 = math.log(2.0 * math.pi), math.log(2.0)


def sample(outputs: jax.Array, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Actions ``tanh(mean + std * noise)`` ``[B, A]`` and their log-densities ``[B]``.

    Args:
        outputs: ``[B, 2 A]``, means followed by logarithms of standard deviations.
        noise: ``[B, A]``, standard normal draws.
    """
    n = noise.shape[1]
    mean, raw = outputs[:, :n], outputs[:, n:]
    low, high = LOG_STD_BOUNDS
    # not jnp.clip: on a bound it would pass half of the gradient, here as in PyTorch it passes all of it
    log_std = jnp.where(raw < low, low, jnp.where(raw > high, high, raw))
    u = mean + jnp.exp(log_std) * noise
    size = jnp.where(u < 0.0, -u, u)
    correction = 2.0 * (_LOG_2 - size - jnp.log1p(jnp.exp(-2.0 * size)))
    densities = -0.5 * (noise * noise + _LOG_2_PI) - log_std - correction
    return jnp.tanh(u), densities.sum(axis=1)
