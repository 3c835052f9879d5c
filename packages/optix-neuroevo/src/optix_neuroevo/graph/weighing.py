"""A graph's numbers: effective weights, Dale's law, and parameters that PyTorch trains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from optix_neuroevo.graph import weights
from optix_neuroevo.graph.structure import Array, GraphStructure

if TYPE_CHECKING:
    from torch import nn


class WeightedGraph(GraphStructure):
    """A structure whose edges have weights in effect, which follow from what is stored."""

    def effective_weights(self) -> Array:
        """Effective weights ``[edge slots]``, zero in free ones; a new array."""
        sign = weights.SIGNS[self.neurons["cell"][self.edges["src"]]].astype(self.dtype)
        theta = self.parameter_arrays["theta"].values
        return np.where(self.edges.alive, weights.effective(theta, self.edges["form"], sign), 0).astype(
            self.dtype
        )

    def enforce_dale(self) -> None:
        """Move stored weights into the range that Dale's law leaves them; call it after every gradient step."""
        bounded_below, bounded_above = self._cache("dale", self._dale_slots)
        theta = self.parameter_arrays["theta"].values
        if len(bounded_below):
            theta[bounded_below] = np.maximum(theta[bounded_below], 0.0)
        if len(bounded_above):
            theta[bounded_above] = np.minimum(theta[bounded_above], 0.0)
        self.touch()

    def parameters(self) -> list[nn.Parameter]:
        """PyTorch parameters on the memory of :attr:`parameter_arrays`; the objects stay the same as long as the graph.

        A neuron type that the graph did not have before brings a further one.
        """
        return [array.parameter() for array in self.parameter_arrays.values()]

    def named_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """:meth:`parameters` with their names."""
        return [(name, array.parameter()) for name, array in self.parameter_arrays.items()]

    def touch(self) -> None:
        """Say that parameter values were written to by something other than PyTorch or this graph."""
        self._values += 1

    @property
    def values_version(self) -> int:
        """Grows with every change of parameter values that the graph or PyTorch knows of."""
        stamp = self._values
        for array in self.parameter_arrays.values():
            stamp += array.version
        return stamp

    def _dale_slots(self) -> tuple[Array, Array]:
        cell = self.neurons["cell"][self.edges["src"]]
        form, alive = self.edges["form"], self.edges.alive
        free = alive & (form == weights.FREE)
        below = (free & (cell == weights.EXCITATORY)) | (alive & (form == weights.RECTIFIED))
        return np.flatnonzero(below), np.flatnonzero(free & (cell == weights.INHIBITORY))
