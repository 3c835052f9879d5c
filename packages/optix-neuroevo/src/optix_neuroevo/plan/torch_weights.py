"""From a graph's trainable parameters to what a plan reads, differentiably."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from optix_neuroevo.graph import weights
from optix_neuroevo.plan.compile import Plan

if TYPE_CHECKING:
    from optix_neuroevo.graph.neuron_graph import NeuronGraph


class TorchMaths:
    """:class:`~optix_neuroevo.neurons.types.Maths` of tensors."""

    sigmoid = staticmethod(torch.sigmoid)
    tanh = staticmethod(torch.tanh)
    exp = staticmethod(torch.exp)


class Gather:
    """Index tensors of one plan on one device.

    Args:
        plan: The plan.
        device: Where.
    """

    def __init__(self, plan: Plan, device: torch.device) -> None:
        def ints(array: Any) -> Tensor:
            return torch.from_numpy(array).to(device)

        self.plan = plan
        self.device = device
        self.edge_slots, self.edge_cells = ints(plan.edge_slots), ints(plan.edge_cells)
        self.bias_slots, self.bias_cells = ints(plan.bias_slots), ints(plan.bias_cells)
        self.shift, self.output_columns = ints(plan.shift), ints(plan.output_columns)
        self.constrained = bool((plan.edge_forms != weights.FREE).any())
        self.forms, self.signs = ints(plan.edge_forms.astype("int64")), ints(plan.edge_signs)
        self.groups = [
            (g.start, g.type.name, ints(g.slots))
            for level in plan.levels
            for g in level.groups
            if g.type.parameters
        ]

    def buffer(self, graph: NeuronGraph) -> Tensor:
        """The buffer of weights of all levels."""
        arrays = graph.parameter_arrays
        theta = arrays["theta"].parameter().to(self.device)[self.edge_slots]
        w = weights.effective_torch(theta, self.forms, self.signs) if self.constrained else theta
        bias = arrays["bias"].parameter().to(self.device)[self.bias_slots]
        empty = torch.zeros(self.plan.buffer_size, dtype=w.dtype, device=self.device)
        return empty.index_add(0, self.edge_cells, w).index_add(0, self.bias_cells, bias)

    def own(self, graph: NeuronGraph) -> dict[int, Tensor]:
        """Parameters ``[K, n]`` of each group that has any, by its first row."""
        arrays = graph.parameter_arrays
        return {
            start: arrays[name].parameter().to(self.device)[slots].T for start, name, slots in self.groups
        }
