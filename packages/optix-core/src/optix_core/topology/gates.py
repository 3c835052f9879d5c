"""What speaks for letting a network grow, and what moves weights besides gradients?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from optix_core.topology.signals import Signals
from optix_core.topology.view import GraphView


@dataclass(frozen=True, slots=True, kw_only=True)
class GateVote:
    """What one gate says.

    Attributes:
        grow: Whether, as far as this gate is concerned, the network should grow.
        reason: Why, in one sentence with numbers.
        numbers: What it went by; JSON values, for the decision log.
    """

    grow: bool
    reason: str
    numbers: Mapping[str, float] = field(default_factory=dict[str, float])


@runtime_checkable
class GrowthGate(Protocol):
    """One condition of growth; a network grows when all of its controller's gates vote for it."""

    def vote(self, graph: GraphView, signals: Signals, scores: Sequence[float]) -> GateVote:
        """Whether to grow.

        Args:
            graph: The network, or the region, that would grow.
            signals: What was measured of it.
            scores: The scores since its last change of topology, oldest first; larger is better.
        """
        ...


@runtime_checkable
class PlasticityRule(Protocol):
    """Weight changes from what both ends of each edge did."""

    def change(
        self, pre: NDArray[Any], post: NDArray[Any], weights: NDArray[Any], *, rate: float
    ) -> NDArray[Any]:
        """Changes ``[E]`` of the weights in effect; nothing is written to.

        Args:
            pre: ``[T, E]`` what each edge's source sent (at the time when the edge delivered it).
            post: ``[T, E]`` what each edge's target answered.
            weights: ``[E]`` in effect.
            rate: Step size.
        """
        ...
