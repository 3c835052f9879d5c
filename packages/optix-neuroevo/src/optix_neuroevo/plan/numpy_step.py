"""One step of a plan in numpy: for one environment as fast as possible, and for N at once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from optix_neuroevo.neurons.activations import in_place
from optix_neuroevo.neurons.types import NUMPY
from optix_neuroevo.plan.compile import Group, Ints, Level, Plan
from optix_neuroevo.plan.step_layout import StepLayout, step_layout

if TYPE_CHECKING:
    from optix_neuroevo.graph.neuron_graph import NeuronGraph

Array = NDArray[Any]
_KEPT = 8


class Weights:
    """The numbers of a graph in the order in which something reads them, gathered again after they have changed.

    Args:
        graph: Whose.
        plan: Its plan.
        layout: Whose order; None: the plan's own.

    Attributes:
        buffer: Weights of all levels.
        own: For each group of neurons with parameters, by its first row: ``[K, n]``.
    """

    def __init__(self, graph: NeuronGraph, plan: Plan, layout: StepLayout | None = None) -> None:
        self.plan, self._layout = plan, layout
        self.buffer: Array = np.zeros(plan.buffer_size if layout is None else layout.size, graph.dtype)
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
            arrays, plan, layout = graph.parameter_arrays, self.plan, self._layout
            found = plan.edge_weights(arrays["theta"].values), arrays["bias"].values[plan.bias_slots]
            if layout is None:
                plan.fill(self.buffer, *found)
            else:
                layout.fill(plan, self.buffer, *found)
            for g in self._groups:
                self.own[g.start][...] = arrays[g.type.name].values[g.slots].T
            self._version = version


class SingleStepper:
    """Steps one environment; two vectors z take turns, so that one step's numbers are the past of the next.

    What is done in a step is a list of functions whose arguments are fixed: all arrays stay where they are.

    Args:
        graph: Which graph.

    Attributes:
        structure: The graph's structure version that this belongs to.
    """

    def __init__(self, graph: NeuronGraph) -> None:
        self.structure = graph.structure_version
        self._plan = plan = graph.plan()
        self._layout = layout = graph._cache("step layout", lambda: step_layout(plan))
        self._weights = Weights(graph, plan, layout)
        self._shape = (plan.n_inputs,)
        self._z = [np.zeros(plan.n_columns, graph.dtype) for _ in range(2)]
        self._variables: Array = np.zeros(plan.layout.size, graph.dtype)
        for z in self._z:
            z[layout.one] = 1.0
        self._inputs = [z[layout.one + 1 : plan.first] for z in self._z]
        self._calls = [self._calls_of(z, before) for z, before in (self._z, reversed(self._z))]
        self._outputs = [_picking(z, plan.output_columns) for z in self._z]
        self._now = 0

    def step(self, observation: Any) -> Array:
        """Observation ``[n_in]`` to outputs ``[n_out]``, a new array."""
        self._weights.refresh()
        now = self._now
        given = np.asarray(observation)
        if given.shape != self._shape:
            raise ValueError(f"the observation has shape {given.shape}, expected {self._shape}")
        self._inputs[now][...] = given
        for call in self._calls[now]:
            call()
        self._now = 1 - now
        return self._outputs[now]()

    def memory(self) -> Array:
        """The environment's memory ``[M]``, a new array."""
        found = self._variables.copy()
        found[: self._plan.n_history] = self._z[1 - self._now][self._layout.shift]
        return found

    def set_memory(self, memory: Array) -> None:
        """Set it."""
        self._variables[...] = memory
        self._z[1 - self._now][self._layout.shift] = memory[: self._plan.n_history]

    def activation(self, slot: int) -> float:
        """A neuron's activation in the last step."""
        return float(self._z[1 - self._now][self._plan.column_of[slot]])

    def _calls_of(self, z: Array, before: Array) -> list[Callable[[], Any]]:
        """What a step does that writes z and whose past is in ``before``."""
        plan, layout, calls = self._plan, self._layout, list[Callable[[], Any]]()
        if plan.n_history and not layout.direct:
            calls.append(_copying(before, layout.shift, z[: plan.n_history]))
        for lv in layout.levels:
            here = z[plan.first + lv.level.start : plan.first + lv.level.stop]
            calls.append(
                functools.partial(np.dot, lv.matrix(self._weights.buffer), z[lv.low : lv.high], here)
            )
            if lv.picks:
                parts, past = np.empty(len(lv.picked), z.dtype), z
                places = lv.picked
                if layout.direct:
                    past, places = before, layout.shift[places]
                calls.append(functools.partial(past.take, places, out=parts, mode="clip"))
                weights = lv.picked_weights(self._weights.buffer)
                calls.append(functools.partial(np.multiply, parts, weights, parts))
                calls += [functools.partial(np.add, here, part, here) for part in parts.reshape(lv.picks, -1)]
            calls += [f for g in lv.level.groups if (f := self._function(g, z)) is not None]
        return calls

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
        own = tuple(self._weights.own.get(group.start, ()))  # views, so they follow what is learned
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
        self._layout = layout = graph._cache("step layout", lambda: step_layout(plan))
        self._weights = weights = Weights(graph, plan, layout)
        self._n = n
        self._z = z = np.zeros((plan.n_columns, n), graph.dtype)
        z[layout.one] = 1.0
        self._own = {start: tuple(values[:, :, None]) for start, values in weights.own.items()}
        self._work: list[tuple[Array, Array, Array, tuple[Array, Array, Array] | None, Level]] = []
        for lv in layout.levels:
            picked = None
            if lv.picks:
                parts = np.empty((len(lv.picked), n), z.dtype)
                picked = (lv.picked, lv.picked_weights(weights.buffer)[:, None], parts)
            here = z[plan.first + lv.level.start : plan.first + lv.level.stop]
            self._work.append((lv.matrix(weights.buffer), z[lv.low : lv.high], here, picked, lv.level))

    def step(self, observations: Array, memory: Array) -> tuple[Array, Array]:
        """Observations ``[N, n_in]`` and memory ``[N, M]`` to outputs ``[N, n_out]`` and the memory after.

        That memory has a column for each environment in the computer's memory: the next step reads it as it lies.
        """
        plan, layout, z = self._plan, self._layout, self._z
        if observations.shape != (self._n, plan.n_inputs):
            raise ValueError(f"observations have shape {observations.shape}, expected (N, {plan.n_inputs})")
        if memory.shape != (self._n, plan.layout.size):
            raise ValueError(f"memory has shape {memory.shape}, expected {(self._n, plan.layout.size)}")
        self._weights.refresh()
        h, before = layout.one, memory.T
        z[:h] = before[:h]
        z[h + 1 : plan.first] = observations.T
        after: Array = np.empty((plan.layout.size, self._n), z.dtype)
        for matrix, read, x, picked, level in self._work:
            np.dot(matrix, read, x)
            if picked is not None:
                places, weights, parts = picked
                z.take(places, axis=0, out=parts, mode="clip")
                np.multiply(parts, weights, parts)
                for start in range(0, len(parts), len(x)):
                    np.add(x, parts[start : start + len(x)], x)
            for g in level.groups:
                here = x[g.start - level.start : g.stop - level.start]
                if g.type.step is None:
                    activation = in_place(g.activation)
                    if activation is not None:
                        activation(here)
                    continue
                value, states = g.type.step(
                    here, [before[row] for row in g.variables], self._own.get(g.start, ()), NUMPY
                )
                here[...] = value
                for row, state in zip(g.variables, states, strict=True):
                    after[row] = state
        if h:
            z.take(layout.shift, axis=0, out=after[:h], mode="clip")
        return np.ascontiguousarray(z[plan.output_columns].T), after.T

    def activations(self) -> Array:
        """What every neuron gave in the last step, ``[neuron slots, N]``; zeros in free slots."""
        found = self._z[np.maximum(self._plan.column_of, 0)]
        found[self._plan.column_of < 0] = 0.0
        return found


def _picking(source: Array, places: Ints) -> Callable[[], Array]:
    """Gives a new array of some elements; a slice is faster."""
    if len(places) and bool((np.diff(places) == 1).all()):
        return source[int(places[0]) : int(places[-1]) + 1].copy
    return lambda: source[places]


def _copying(source: Array, places: Ints, out: Array) -> Callable[[], Any]:
    """Copies elements; neighbours as one piece, which is faster."""
    if bool((np.diff(places) == 1).all()):
        return functools.partial(np.copyto, out, source[int(places[0]) : int(places[-1]) + 1])
    return functools.partial(source.take, places, out=out, mode="clip")


def stepper_of(graph: NeuronGraph, n: int) -> BatchStepper:
    """The stepper for N environments; made once per structure and N."""
    kept: dict[int, BatchStepper] = graph._cache("steppers", dict)
    found = kept.get(n)
    if found is None:
        if len(kept) >= _KEPT:
            kept.clear()
        found = kept[n] = BatchStepper(graph, n)
    return found
