"""The recurrent core of a graph, stepped through forward and backward in numpy.

This is the one loop over time in Python, so what is done in it is bare: everything that can be computed for all steps
at once (weighted inputs from outside, slopes, derivatives of gated neurons, gradients of weights and parameters) is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_neuroevo.neurons.activations import in_place, slope
from optix_neuroevo.neurons.types import NUMPY, Derivatives
from optix_neuroevo.plan.compile import Group, Plan
from optix_neuroevo.plan.sequence_layout import Core
from optix_neuroevo.plan.simple_core import is_simple, resets_of, simple_back, simple_forward

Array = NDArray[Any]
Back = Callable[[int], None]


def parameter_gradient(g: Group, found: Derivatives, by_h: Array, by_state: Any) -> Array:
    """The gradient ``[K, n]`` by a group's parameters.

    Args:
        g: The group.
        found: Derivatives at all steps.
        by_h: Gradient by its activations, ``[T, n, B]`` or ``[n, T * B]``.
        by_state: The same for each state variable after the step.
    """
    axes = (0, 2) if by_h.ndim == 3 else (1,)
    total = np.empty((len(g.type.parameters), g.stop - g.start), by_h.dtype)
    for k, by_parameter in enumerate(found.h_parameters):
        part = by_h * by_parameter
        for j, cotangent in enumerate(by_state):
            part = part + cotangent * found.state_parameters[j][k]
        total[k] = part.sum(axis=axes)
    return total


class CoreRun:
    """One pass over the core.

    Args:
        plan: The plan.
        core: Its core.
        matrices: Weights ``[rows, Hc + rows before]`` of each level by what the core itself has.
        own: Parameters ``[K, n, 1]`` of groups by first row.

    Attributes:
        z: ``[T, Hc + rows, B]`` past activations and activations of every step.
        held: State variables of groups after the last step, by first row.
        own_gradient: By groups' parameters, after :meth:`backward`.
    """

    def __init__(self, plan: Plan, core: Core, matrices: list[Array], own: Mapping[int, Array]) -> None:
        self.plan = plan
        self.core = core
        self.held: dict[int, tuple[Array, ...]] = {}
        self.own_gradient: dict[int, Array] = {}
        self.z: Array = np.zeros(0)
        self._matrices = matrices
        self._own = own
        self._inputs: dict[int, Array] = {}
        self._before: dict[int, Array] = {}
        self._keep: Array | None = None

    def forward(self, given: Array, memory: Array, keep: Array | None) -> None:
        """Step through.

        Args:
            given: ``[T, rows, B]`` weighted inputs from outside the core.
            memory: ``[M, B]`` before the first step.
            keep: ``[T, B]`` 0 where memory is emptied before the step, else 1.
        """
        core = self.core
        steps, rows, n = given.shape
        n_past = len(core.history)
        self._keep = keep
        self.z = z = np.empty((steps, n_past + rows, n), given.dtype)
        if is_simple(core):
            simple_forward(core, self._matrices[0], z, given, memory, keep)
            return
        work: list[tuple[Array, int, slice, slice, list[Callable[[int, Array], Any]]]] = []
        for level, matrix in zip(core.levels, self._matrices, strict=True):
            a, b = level.start - core.start, level.stop - core.start
            functions = [
                f for g in level.groups if (f := self._function(g, memory, steps, n, given.dtype)) is not None
            ]
            work.append((matrix, n_past + a, slice(n_past + a, n_past + b), slice(a, b), functions))
        resets = resets_of(keep, steps)
        dot, shift = np.dot, core.shift
        previous: Array | None = None
        for t, (now, outside) in enumerate(zip(z, given, strict=True)):
            if n_past:
                now[:n_past] = memory[core.history - 1] if previous is None else previous[shift]
            if resets[t] and keep is not None:
                now[:n_past] *= keep[t]
                self.held = {start: tuple(s * keep[t] for s in states) for start, states in self.held.items()}
            for matrix, k, here, there, functions in work:
                x = now[here]
                if k:
                    dot(matrix, now[:k], x)
                    x += outside[there]
                else:
                    x[...] = outside[there]
                for function in functions:
                    function(t, now)
            previous = now

    def backward(self, arriving: Array) -> Array:
        """Gradient ``[T, rows, B]`` by weighted inputs.

        Args:
            arriving: ``[T, rows, B]`` gradient by activations from outside the core; it is written to.
        """
        core, n_past = self.core, len(self.core.history)
        delta, slopes = np.empty_like(arriving), np.empty_like(arriving)
        local: list[tuple[Group, Derivatives, Array, Any]] = []
        carried: dict[int, list[Array]] = {}
        levels: list[tuple[int, int, list[Back]]] = []
        width = n_past + arriving.shape[1]
        now: Array = np.zeros((width, arriving.shape[2]), arriving.dtype)
        for level in core.levels:
            backs: list[Back] = []
            for g in level.groups:
                place = slice(g.start - core.start, g.stop - core.start)
                if g.type.step is None:
                    slopes[:, place] = slope(
                        g.activation, self.z[:, n_past + place.start : n_past + place.stop]
                    )
                    backs.append(_point_back(now[n_past:][place], slopes[:, place], delta[:, place]))
                else:
                    backs.append(self._gated_back(g, now[n_past:][place], delta[:, place], carried, local))
            levels.append((level.start - core.start, level.stop - core.start, backs))
        if is_simple(core):
            simple_back(core, self._matrices[0], arriving, slopes, delta, self._keep)
        else:
            self._general_back(arriving, delta, now, levels, carried)
        for g, found, by_h, by_state in local:
            if g.type.parameters:
                self.own_gradient[g.start] = parameter_gradient(g, found, by_h, by_state)
        return delta

    # --- forward -------------------------------------------------------------------------------------------------

    def _function(
        self, g: Group, memory: Array, steps: int, n: int, dtype: Any
    ) -> Callable[[int, Array], Any] | None:
        n_past = len(self.core.history)
        place = slice(n_past + g.start - self.core.start, n_past + g.stop - self.core.start)
        step = g.type.step
        if step is None:
            activation = in_place(g.activation)
            return None if activation is None else lambda _, now: activation(now[place])
        inputs = self._inputs[g.start] = np.empty((steps, g.stop - g.start, n), dtype)
        own, start = tuple(self._own.get(g.start, ())), g.start  # taken apart once, not in every step
        if not g.type.state:

            def stateless(t: int, now: Array) -> None:
                inputs[t] = now[place]
                now[place] = step(inputs[t], (), own, NUMPY)[0]

            return stateless
        before = self._before[start] = np.empty((steps, len(g.type.state), g.stop - g.start, n), dtype)
        self.held[start] = tuple(memory[row] for row in g.variables)

        def stateful(t: int, now: Array) -> None:
            x, states = inputs[t], self.held[start]
            x[...] = now[place]
            for kept, state in zip(before[t], states, strict=True):
                kept[...] = state
            now[place], self.held[start] = step(x, states, own, NUMPY)

        return stateful

    # --- backward ------------------------------------------------------------------------------------------------

    def _general_back(
        self, arriving: Array, delta: Array, now: Array, levels: list[tuple[int, int, list[Back]]],
        carried: dict[int, list[Array]],
    ) -> None:  # fmt: skip
        """Any levels, delays and types."""
        keep, n_past = self._keep, len(self.core.history)
        work = [
            (np.ascontiguousarray(matrix.T), a, b, backs)
            for matrix, (a, b, backs) in zip(reversed(self._matrices), reversed(levels), strict=True)
        ]
        resets = resets_of(keep, len(delta))
        back: Array = np.zeros(
            (n_past, delta.shape[2]), delta.dtype
        )  # by the past activations of the step after
        here = now[n_past:]
        for t in range(len(delta) - 1, -1, -1):
            here[...] = arriving[t]
            if n_past:
                now[:n_past] = 0.0
                now[self.core.shift] += back
            for transposed, a, b, backs in work:
                for function in backs:
                    function(t)
                if n_past + a:
                    now[: n_past + a] += transposed @ delta[t, a:b]
            if n_past:
                back[...] = now[:n_past]
            if resets[t] and keep is not None:
                back *= keep[t]
                for states in carried.values():
                    for state in states:
                        np.multiply(state, keep[t], out=state)

    def _gated_back(
        self, g: Group, arrived: Array, delta: Array, carried: dict[int, list[Array]],
        local: list[tuple[Group, Derivatives, Array, Any]],
    ) -> Back:  # fmt: skip
        """One step back through a group with a formula: fills ``delta[t]``, and carries gradients by its state."""
        assert g.type.jacobian is not None
        inputs, before = self._inputs[g.start], self._before.get(g.start)
        states = () if before is None else tuple(before[:, j] for j in range(before.shape[1]))
        found = g.type.jacobian(inputs, states, self._own.get(g.start, ()))
        by_h = np.empty_like(inputs)
        kept = carried[g.start] = [np.zeros_like(inputs[0]) for _ in states]
        if not states or not g.type.is_recurrent:
            local.append((g, found, by_h, ()))

            def plain(t: int) -> None:
                by_h[t] = arrived
                np.multiply(arrived, found.h_x[t], delta[t])

            return plain
        if len(states) == 1 and found.state_x[0] is found.h_x:  # the state is the activation (a GRU)
            local.append((g, found, by_h, ()))
            (state,), by_x, by_before = kept, found.h_x, found.h_state[0]

            def merged(t: int) -> None:
                total = by_h[t]
                np.add(arrived, state, total)
                np.multiply(total, by_x[t], delta[t])
                np.multiply(total, by_before[t], state)

            return merged
        by_state = np.empty((len(states), *inputs.shape), inputs.dtype)
        local.append((g, found, by_h, by_state))

        def general(t: int) -> None:
            by_h[t] = arrived
            d = delta[t]
            np.multiply(arrived, found.h_x[t], d)
            for j, state in enumerate(kept):
                by_state[j, t] = state
                d += state * found.state_x[j][t]
            for i, state in enumerate(kept):
                np.multiply(arrived, found.h_state[i][t], state)
                for j in range(len(kept)):
                    np.add(state, by_state[j, t] * found.state_state[j][i][t], state)

        return general


def _point_back(arrived: Array, slopes: Array, delta: Array) -> Back:
    return lambda t: np.multiply(arrived, slopes[t], delta[t])  # type: ignore[return-value]
