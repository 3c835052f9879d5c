"""What a change of a graph did, for optimisers, memories, logs and whoever wants to undo it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.errors import OptixError
from optix_neuroevo.graph.state_layout import StateMigration

Slots = NDArray[np.int64]


class OperationRefused(OptixError, ValueError):
    """A change of a graph would break its promise, Dale's law or a tolerance; the graph is as it was before."""

    default_code = "E-GRAPH-REFUSED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """A new parameter that continues an old one: an optimiser may copy the old slot's moments, times ``scale``.

    The old slot is meant as it was before the change, which may have removed or even reused it.

    Attributes:
        parameter: Name of the array.
        slot: The new slot.
        source: The old slot (perhaps removed by the same change).
        scale: What one unit of the new parameter's gradient was in the old one's; 1 where the value was copied.
    """

    parameter: str
    slot: int
    source: int
    scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphDelta:
    """One committed change.

    Attributes:
        operation: Its name.
        version: The graph's version after it.
        neurons_added: Ids.
        neurons_removed: Ids.
        edges_added: Ids.
        edges_removed: Ids.
        added: Parameter array's name to slots that are new. Whatever an optimiser knows about these slots is of
            something else and must go.
        removed: Name to slots that are free now.
        changed: Name to slots that still mean the same, but were given another value by the change.
        transfers: New slots that continue old ones.
        capacity: Name to the number of slots of that array now (they only grow).
        migration: How memory ``[..., M]`` of environments continues.
        promise: ``"exact"`` if the function that the graph computes was to stay the same up to rounding, for every
            future input from the current (migrated) memory; ``"approximate"``; or ``"none"``.
        output_change: Largest absolute change of an output over the probe, if one was given.
        details: Numbers and names that the operation reports, plain data.
    """

    operation: str
    version: int
    neurons_added: tuple[str, ...] = ()
    neurons_removed: tuple[str, ...] = ()
    edges_added: tuple[str, ...] = ()
    edges_removed: tuple[str, ...] = ()
    added: Mapping[str, Slots]
    removed: Mapping[str, Slots]
    changed: Mapping[str, Slots]
    transfers: tuple[Transfer, ...] = ()
    capacity: Mapping[str, int]
    migration: StateMigration
    promise: str = "none"
    output_change: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def topology_changed(self) -> bool:
        """Whether anything was added or removed."""
        return bool(self.neurons_added or self.neurons_removed or self.edges_added or self.edges_removed)

    def document(self) -> dict[str, Any]:
        """The change without migration and slots, as JSON would have it: for logs."""
        return {
            "operation": self.operation,
            "version": self.version,
            "neurons_added": list(self.neurons_added),
            "neurons_removed": list(self.neurons_removed),
            "edges_added": list(self.edges_added),
            "edges_removed": list(self.edges_removed),
            "promise": self.promise,
            "output_change": self.output_change,
            "details": dict(self.details),
        }
