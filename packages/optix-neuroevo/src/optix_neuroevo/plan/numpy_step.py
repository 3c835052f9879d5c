"""One step of a plan in numpy: for one environment as fast as possible, and for N at once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from optix_neuroevo.neurons.activations import in_place
from optix_neuroevo.neurons.types import NUMPY
from optix_neuroevo.plan.compile import Group, Plan

if TYPE_CHECKING:
    from optix_neuroevo.graph.neuron_graph import NeuronGraph

Array = NDArray[Any]
_KEPT = 8


class Weights:
    """The numbers of a graph in the order in which a plan reads them, gathered again after they have changed.

    Args:
        graph: Whose.
        plan: Its plan.

    Attributes:
        buffer: Weights of all levels.
        own: For each group of neurons with parameters, by its first row: ``[K, n]``.
    """

    def __init__(self, graph: NeuronGraph, plan: Plan) -> None:
        self.plan = plan
        self.buffer: Array = np.zeros(plan.buffer_size, graph.dtype)
        self._groups = [g for level in plan.levels for g in level.groups if g.type.parameters]
        self.own: dict[int, Array] = {
            g.start: np.zeros((len(g.type.parameters), g.stop - g.start), graph.dtype) for g in self._groups
        }
        self._graph = graph
        self._arrays = list(graph.parameter_arrays.values())
        self._version = -1

    def refresh(self) -> None:
        """Gather what has changed since the last call."""
        graph = self._graph
        version = graph._values
        for array in self._arrays:
            if array._parameter is not None:
                version += array._parameter._version
        if version != self._version:
            arrays = graph.parameter_arrays
            bias = arrays["bias"].values[self.plan.bias_slots]
            self.plan.fill(self.buffer, self.plan.edge_weights(arrays["theta"].values), bias)
            for g in self._groups:
                self.own[g.start][...] = arrays[g.type.name].values[g.slots].T
            self._version = version


class SingleStepper:
    """Steps one environment; two vectors z take turns, so that the next step's past is gathered in one operation.

    Args:
        graph: Which graph.

    Attributes:
        structure: The graph's structure version that this belongs to.
    """

    def __init__(self, graph: NeuronGraph) -> None:
        self.structure = graph.structure_version
        self._plan = plan = graph.plan()
        self._weights = Weights(graph, plan)
        self._n_inputs = plan.n_inputs
        self._shift, self._outputs = plan.shift, plan.output_columns
        if len(self._outputs) and (np.diff(self._outputs) == 1).all():  # a slice is faster than picking
            self._outputs = slice(int(self._outputs[0]), int(self._outputs[-1]) + 1)
        self._z = [np.zeros(plan.n_columns, graph.dtype) for _ in range(2)]
        self._variables: Array = np.zeros(plan.layout.size, graph.dtype)
        self._inputs: list[Array] = []
        self._past: list[Array] = []
        self._steps: list[list[tuple[Array, Array, Array, list[Callable[[], Any]]]]] = []
        for z in self._z:
            z[0] = 1.0
            self._inputs.append(z[1 + plan.n_history : plan.first])
            self._past.append(z[1 : 1 + plan.n_history])
            self._steps.append(
                [
                    (
                        plan.matrix_of(self._weights.buffer, level),
                        z[: level.columns],
                        z[plan.first + level.start : plan.first + level.stop],
                        [run for g in level.groups if (run := self._function(g, z)) is not None],
                    )
                    for level in plan.levels
                ]
            )
        self._now = 0

    def step(self, observation: Any) -> Array:
        """Observation ``[n_in]`` to outputs ``[n_out]``, a new array."""
        self._weights.refresh()
        now = self._now
        given = np.asarray(observation)
        if given.shape != (self._n_inputs,):
            raise ValueError(f"the observation has shape {given.shape}, expected {(self._n_inputs,)}")
        self._inputs[now][...] = given
        dot = np.dot
        for matrix, before, here, functions in self._steps[now]:
            dot(matrix, before, here)
            for function in functions:
                function()
        z = self._z[now]
        now = 1 - now
        z.take(self._shift, out=self._past[now], mode="clip")
        self._now = now
        return z[self._outputs].copy() if type(self._outputs) is slice else z[self._outputs]

    def memory(self) -> Array:
        """The environment's memory ``[M]``, a new array."""
        found = self._variables.copy()
        found[: self._plan.n_history] = self._past[self._now]
        return found

    def set_memory(self, memory: Array) -> None:
        """Set it."""
        self._variables[...] = memory
        self._past[self._now][...] = memory[: self._plan.n_history]

    def activation(self, slot: int) -> float:
        """A neuron's activation in the last step."""
        return float(self._z[1 - self._now][self._plan.column_of[slot]])

    def _function(self, group: Group, z: Array) -> Callable[[], Any] | None:
        here = z[self._plan.first + group.start : self._plan.first + group.stop]
        step = group.type.step
        if step is None:
            activation = in_place(group.activation)
            if activation is None:
                return None
            if group.activation == "tanh":
                return functools.partial(np.tanh, here, here)
            return functools.partial(activation, here)
        own = self._weights.own.get(group.start, ())
        kept, places = self._variables, group.variables

        def run() -> None:
            h, after = step(here, kept[places], own, NUMPY)
            here[...] = h
            for row, value in zip(places, after, strict=True):
                kept[row] = value

        return run


class BatchStepper:
    """Steps N environments whose memory belongs to the caller.

    Args:
        graph: Which graph.
        n: N.
    """

    def __init__(self, graph: NeuronGraph, n: int) -> None:
        self.structure = graph.structure_version
        self._plan = plan = graph.plan()
        self._weights = Weights(graph, plan)
        self._n = n
        self._z: Array = np.zeros((plan.n_columns, n), graph.dtype)
        self._z[0] = 1.0
        self._matrices = [plan.matrix_of(self._weights.buffer, level) for level in plan.levels]

    def step(self, observations: Array, memory: Array) -> tuple[Array, Array]:
        """Observations ``[N, n_in]`` and memory ``[N, M]`` to outputs ``[N, n_out]`` and the memory after."""
        plan, z = self._plan, self._z
        if observations.shape != (self._n, plan.n_inputs):
            raise ValueError(f"observations have shape {observations.shape}, expected (N, {plan.n_inputs})")
        if memory.shape != (self._n, plan.layout.size):
            raise ValueError(f"memory has shape {memory.shape}, expected {(self._n, plan.layout.size)}")
        self._weights.refresh()
        h = plan.n_history
        z[1 : 1 + h] = memory[:, :h].T
        z[1 + h : plan.first] = observations.T
        after: Array = np.empty((self._n, plan.layout.size), z.dtype)
        for level, matrix in zip(plan.levels, self._matrices, strict=True):
            np.dot(matrix, z[: level.columns], z[plan.first + level.start : plan.first + level.stop])
            for g in level.groups:
                here = z[plan.first + g.start : plan.first + g.stop]
                if g.type.step is None:
                    activation = in_place(g.activation)
                    if activation is not None:
                        activation(here)
                    continue
                own = self._weights.own.get(g.start)
                parameters = () if own is None else own[:, :, None]
                value, states = g.type.step(
                    here, [memory[:, row].T for row in g.variables], parameters, NUMPY
                )
                here[...] = value
                for row, state in zip(g.variables, states, strict=True):
                    after[:, row] = state.T
        after[:, :h] = z[plan.shift].T
        return np.ascontiguousarray(z[plan.output_columns].T), after

    def activations(self) -> Array:
        """What every neuron gave in the last step, ``[neuron slots, N]``; zeros in free slots."""
        found = self._z[np.maximum(self._plan.column_of, 0)]
        found[self._plan.column_of < 0] = 0.0
        return found


def stepper_of(graph: NeuronGraph, n: int) -> BatchStepper:
    """The stepper for N environments; made once per structure and N."""
    kept: dict[int, BatchStepper] = graph._cache("steppers", dict)
    found = kept.get(n)
    if found is None:
        if len(kept) >= _KEPT:
            kept.clear()
        found = kept[n] = BatchStepper(graph, n)
    return found
