"""The gradient that every possible edge would get, those that do not exist included."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from optix_neuroevo.plan.module import Trace

Array = NDArray[Any]


def absent_gradients(trace: Trace, delays: Sequence[int] = (0, 1)) -> Array:
    """Gradients of the loss by the effective weight of each edge (source, target, delay), existing or not.

    For an edge of weight w it is the sum over steps of (gradient by the target's weighted input) times (activation
    of the source ``delay`` steps ago), which needs no edge. It is what regrowing by gradients (Evci et al. 2020,
    arXiv:1911.11134) and growing by them (Evci et al. 2022, arXiv:2201.05125) look at. Activations from before the
    recorded steps or before an episode count as zero. Not possible edges, such as those into inputs or of delay 0
    against the order of computation, have numbers too; ask ``graph.would_cycle``.

    Args:
        trace: What :attr:`GraphModule.trace` gave.
        delays: Which delays.

    Returns:
        ``[delays, target slots, source slots]``.

    Raises:
        ValueError: A delay is negative.
    """
    activity, delta = trace.activity, trace.delta
    steps, slots, _ = activity.shape
    if min(delays, default=0) < 0:
        raise ValueError(f"a delay is a number of steps, 0 or more; got {min(delays)}")
    found = np.zeros((len(delays), slots, slots), activity.dtype)
    begun = None if trace.starts is None else np.cumsum(trace.starts, axis=0)
    for i, delay in enumerate(delays):
        if delay >= steps:
            continue
        late, early = delta[delay:], activity[: steps - delay]
        if begun is not None and delay:
            same = begun[delay:] == begun[: steps - delay]  # no episode began in between
            early = early * same[:, None]
        left = late.transpose(1, 0, 2).reshape(slots, -1)
        found[i] = left @ early.transpose(1, 0, 2).reshape(slots, -1).T
    return found
