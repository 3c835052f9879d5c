"""Observations on which the effect of a change is measured, and what all neurons did on them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from optix_neuroevo.plan.numpy_step import stepper_of

if TYPE_CHECKING:
    from optix_neuroevo.graph.neuron_graph import NeuronGraph
    from optix_neuroevo.graph.state_layout import StateMigration

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Some steps of B environments, usually a window that was just collected.

    Attributes:
        observations: ``[T, B, n_in]``.
        memory: ``[B, M]`` before the first step; None: empty.
        starts: ``[T, B]`` bool, where memory is empty because an episode begins; None: nowhere.
    """

    observations: Array
    memory: Array | None = None
    starts: Array | None = None

    def outputs(self, graph: NeuronGraph) -> Array:
        """Outputs ``[T, B, n_out]``. Inputs that a graph has beyond ``n_in`` are zero."""
        return self._run(graph, None)

    def activity(self, graph: NeuronGraph) -> Array:
        """Activations ``[T, neuron slots, B]``, zeros in free slots."""
        found = np.zeros(
            (len(self.observations), graph.neurons.capacity, self.observations.shape[1]), graph.dtype
        )
        self._run(graph, found)
        return found

    def migrated(self, migration: StateMigration) -> Probe:
        """The same steps for a graph after a change."""
        return self if self.memory is None else replace(self, memory=migration(self.memory))

    def _run(self, graph: NeuronGraph, activity: Array | None) -> Array:
        steps, n, width = self.observations.shape
        plan = graph.plan()
        observations = self.observations
        if width < plan.n_inputs:
            observations = np.concatenate(
                [observations, np.zeros((steps, n, plan.n_inputs - width), observations.dtype)], axis=2
            )
        memory = np.zeros((n, plan.layout.size), graph.dtype) if self.memory is None else self.memory
        stepper = stepper_of(graph, n)
        outputs = np.zeros((steps, n, plan.n_outputs), graph.dtype)
        for t in range(steps):
            if self.starts is not None and self.starts[t].any():
                memory = np.where(self.starts[t][:, None], 0, memory).astype(graph.dtype)
            outputs[t], memory = stepper.step(observations[t], memory)
            if activity is not None:
                activity[t] = stepper.activations()
        return outputs


def record_activity(graph: NeuronGraph, probe: Probe) -> Array:
    """Activations ``[T, neuron slots, B]`` of all neurons over a probe, zeros in free slots."""
    return probe.activity(graph)
