"""Forward passes of noisy networks in numpy, for acting."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.acting import MLP, MLPSpec
from optix_torch.networks.noisy import factors

Array = NDArray[Any]


class NoisyActing:
    """Forward passes with noise of its own for every row, without making a noisy weight matrix.

    ``(mu + sigma * (f_out f_in^T)) x = mu x + f_out * (sigma (f_in * x))``.
    """

    def __init__(self, spec: MLPSpec, means: Array, deviations: Array) -> None:
        self._plain, self._sizes = MLP(spec, means), spec.sizes
        mu, sigma = spec.layout.views(means), spec.layout.views(deviations)
        self._layers = [
            (mu[f"{i}.weight"].T, mu[f"{i}.bias"], sigma[f"{i}.weight"].T, sigma[f"{i}.bias"])
            for i in range(len(spec.activations))
        ]

    def outputs(self, observations: Array, rng: np.random.Generator | None) -> Array:
        """``[N, out]`` with new noise from ``rng``, without noise for None."""
        if rng is None:
            return self._plain.forward(observations)
        x = observations.reshape(len(observations), -1).astype(self._plain.parameters.dtype, copy=False)
        sizes, start = self._sizes, 0
        drawn = factors(rng, (len(x), sum(sizes[:-1]) + sum(sizes[1:])))
        for i, (mu_w, mu_b, sigma_w, sigma_b) in enumerate(self._layers):
            if i:
                np.maximum(x, 0.0, out=x)
            middle, stop = start + sizes[i], start + sizes[i] + sizes[i + 1]
            noisy = np.dot(x * drawn[:, start:middle], sigma_w)
            noisy += sigma_b
            noisy *= drawn[:, middle:stop]
            noisy += mu_b
            noisy += np.dot(x, mu_w)
            x, start = noisy, stop
        return x
