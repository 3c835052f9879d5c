"""Edges and neurons as one meets them from outside: small views that read the graph's arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_neuroevo.graph.parameters import ParameterArray


@dataclass(frozen=True, slots=True)
class ParamRef:
    """One trainable number, or one neuron's row of them, inside one of the graph's parameter arrays.

    Attributes:
        array: The array.
        slot: Where in it.
    """

    array: ParameterArray
    slot: int

    def item(self) -> float:
        """The number.

        Raises:
            ValueError: It is a row of several.
        """
        return float(self.array.values[self.slot])

    @property
    def data(self) -> NDArray[Any]:
        """A view, ``[]`` or ``[K]``; after writing to it call ``graph.touch()``."""
        return self.array.values[self.slot, ...]

    @property
    def grad(self) -> Any:
        """Its part of the last gradient, ``[]`` or ``[K]``; None without one."""
        found = self.array.grad
        return None if found is None else np.asarray(found[self.slot])


@dataclass(frozen=True, slots=True)
class Edge:
    """A directed edge.

    Attributes:
        edge_id: Its id.
        src: Id of the neuron it reads.
        dst: Id of the neuron it adds to.
        delay: In steps; 0 within the same step.
        weight: What is stored for it (theta); see ``graph.effective_weight``.
        effective_weight: What it multiplies with, as it was when this view was made.
        slot: Its place in the graph's edge arrays.
    """

    edge_id: str
    src: str
    dst: str
    delay: int
    weight: ParamRef
    effective_weight: float
    slot: int


@dataclass(frozen=True, slots=True)
class NeuronView:
    """A neuron.

    Attributes:
        neuron_id: Its id.
        role: ``"input"``, ``"hidden"`` or ``"output"``.
        type_name: Its type.
        activation: Of point neurons; ``"linear"`` for others.
        cell_type: ``"excitatory"``, ``"inhibitory"`` or ``"any"``.
        region: Label of the region it belongs to.
        bias: Only point neurons use it.
        parameters: Its type's parameters; None for point neurons.
        slot: Its place in the graph's neuron arrays.
        born: The graph's version when it was added.
    """

    neuron_id: str
    role: str
    type_name: str
    activation: str
    cell_type: str
    region: str
    bias: ParamRef
    parameters: ParamRef | None
    slot: int
    born: int
