"""What does a topology mutator promise?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from optix_core.topology.signals import Signals
from optix_core.topology.view import GraphEdit, GraphView


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much a proposal may add.

    Attributes:
        neurons: Most hidden neurons that may come on top of those there are, at least 0.
        edges: Most edges that may come on top of those there are, at least 0.
        changes: Most proposals that are wanted, best first.
        min_hidden: Hidden neurons that must be left.
        min_age: Neurons and edges younger than that many windows must be left alone.
        max_delay: Longest delay that a new edge may have.
    """

    neurons: int = 1
    edges: int = 64
    changes: int = 1
    min_hidden: int = 1
    min_age: int = 0
    max_delay: int = 8

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 0:
                raise ValueError(f"a budget's {name} must be at least 0, got {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """One change that a mutator could make, as plain data: it goes into the decision log as it is.

    Attributes:
        targets: Ids of the neurons or edges it is about.
        gain: How much the mutator expects of it; larger is better, comparable within one mutator only.
        reason: Why, in one sentence with numbers.
        neurons: Hidden neurons that there will be more; negative if fewer.
        edges: Edges that there will be more at most; negative if fewer.
        payload: What :meth:`TopologyMutator.apply` needs to know besides; JSON values.
    """

    targets: tuple[str, ...]
    gain: float
    reason: str
    neurons: int = 0
    edges: int = 0
    payload: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        if not math.isfinite(self.gain):
            raise ValueError(f"a proposal's gain must be finite, got {self.gain}")

    def to_dict(self) -> dict[str, Any]:
        """Plain data that JSON can hold."""
        return {
            "targets": list(self.targets), "gain": float(self.gain), "reason": self.reason,
            "neurons": self.neurons, "edges": self.edges, "payload": dict(self.payload),
        }  # fmt: skip


@runtime_checkable
class TopologyMutator(Protocol):
    """Proposes changes of a network's topology, and makes them."""

    def propose(
        self, graph: GraphView, signals: Signals, budget: Budget, rng: np.random.Generator
    ) -> Sequence[Proposal]:
        """Changes that fit the budget, the best first; none if there is nothing to do or to go by.

        Neither the graph nor the signals are changed. All randomness comes from ``rng``.
        """
        ...

    def apply(self, edit: GraphEdit, proposal: Proposal, rng: np.random.Generator) -> None:
        """Make a change that :meth:`propose` of the same mutator proposed for this graph."""
        ...
