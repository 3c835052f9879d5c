"""What was measured of a network while it worked and learned?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from numpy.typing import NDArray

from optix_core.plugins.topology_specs import SIGNALS


def _nothing() -> Mapping[Any, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeGradients:
    """Gradients of the loss with respect to the weights of all edges of one delay, those that do not exist included.

    Attributes:
        delay: Of all these edges.
        src: ``[M]`` ids of sources.
        dst: ``[K]`` ids of targets.
        gradient: ``[K, M]`` mean of dL/dw over the last windows' first update pass.
        deviation: ``[K, M]`` standard error of that mean over minibatches; None if there was one minibatch only.
    """

    delay: int
    src: tuple[str, ...]
    dst: tuple[str, ...]
    gradient: NDArray[Any]
    deviation: NDArray[Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """Means over the last windows; what nobody measured is empty.

    Attributes:
        activity: Neuron to the mean of ``|h|``.
        correlation: Pairs of hidden neurons (in the order of the view) to the correlation of their outputs.
        bias_gradients: Neuron to the mean of ``|dL/db|``, b being what is added to its input.
        edge_gradients: One entry per delay that was looked at.
        utilisation: Share of hidden neurons whose gradient stands out of its noise; NaN if it was not measured.
    """

    activity: Mapping[str, float] = field(default_factory=_nothing)
    correlation: Mapping[tuple[str, str], float] = field(default_factory=_nothing)
    bias_gradients: Mapping[str, float] = field(default_factory=_nothing)
    edge_gradients: tuple[EdgeGradients, ...] = ()
    utilisation: float = math.nan

    @property
    def available(self) -> frozenset[str]:
        """Names of what was measured."""
        return frozenset(name for name in SIGNALS if getattr(self, name))
