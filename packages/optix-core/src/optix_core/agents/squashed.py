"""How Gaussian policies that tanh squashes into [-1, 1] act (Haarnoja et al. 2018, arXiv:1812.05905, appendix C).

In numpy, for every framework; how they learn is each framework's own ``continuous/squashed.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from optix_core.export import GraphBuilder

LOG_STD_BOUNDS = (-20.0, 2.0)
"""What logarithms of standard deviations are clamped to; beyond, they have no gradient.

The upper bound keeps what is squashed where tanh still has a slope: at exp(2) most draws are saturated already. The
lower one only prevents an underflow and binds nothing, so that the temperature alone decides how deterministic a policy
becomes; -5, as others have it, would leave a noise of 0.7 % that no temperature removes.
"""


def act(outputs: NDArray[Any], rng: np.random.Generator | None) -> NDArray[np.float32]:
    """Actions ``[N, A]`` for ``outputs`` ``[N, 2 A]``: drawn from ``rng``, or tanh of the means without one.

    Args:
        outputs: Means followed by logarithms of standard deviations.
        rng: None: greedy actions.
    """
    mean, log_std = np.split(outputs, 2, axis=1)
    if rng is None:
        return np.tanh(mean).astype(np.float32, copy=False)
    spread = np.exp(np.clip(log_std, *LOG_STD_BOUNDS))
    return np.tanh(mean + spread * rng.standard_normal(mean.shape, np.float32)).astype(np.float32, copy=False)


def describe(b: GraphBuilder, outputs: str, n_actions: int) -> str:
    """Append the operations from ``outputs`` ``[N, 2 A]`` to greedy actions ``[N, A]``."""
    mean = b.add("slice", outputs, start=0, stop=n_actions)
    return b.add("activation", mean, name="tanh")
