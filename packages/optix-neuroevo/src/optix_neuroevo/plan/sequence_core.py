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
        if self._is_simple():
            self._simple_forward(given, memory)
            return
        work: list[tuple[Array, int, slice, slice, list[Callable[[int, Array], Any]]]] = []
        for level, matrix in zip(core.levels, self._matrices, strict=True):
            a, b = level.start - core.start, level.stop - core.start
            functions = [
                f for g in level.groups if (f := self._function(g, memory, steps, n, given.dtype)) is not None
            ]
            work.append((matrix, n_past + a, slice(n_past + a, n_past + b), slice(a, b), functions))
        resets = self._resets(steps)
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
        if self._is_simple():
            self._simple_back(arriving, slopes, delta)
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
        own, start = self._own.get(g.start, ()), g.start
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

    def _resets(self, steps: int) -> list[bool]:
        """At which steps any memory is emptied."""
        return [False] * steps if self._keep is None else (self._keep == 0).any(axis=1).tolist()

    # --- backward ------------------------------------------------------------------------------------------------

    def _is_simple(self) -> bool:
        """One level of point neurons, whose own past activations are all from one step ago."""
        core = self.core
        return (
            len(core.levels) == 1
            and all(g.type.step is None for g in core.levels[0].groups)
            and len(core.history) > 0
            and isinstance(core.shift, slice)
            and core.shift.start >= len(core.history)
        )

    def _simple_forward(self, given: Array, memory: Array) -> None:
        """A product, a sum and an activation per step."""
        core, z, keep, n_past = self.core, self.z, self._keep, len(self.core.history)
        assert isinstance(core.shift, slice)
        functions = [
            (slice(g.start - core.start, g.stop - core.start), f)
            for g in core.levels[0].groups
            if (f := in_place(g.activation)) is not None
        ]
        whole = len(functions) == 1 and len(core.levels[0].groups) == 1
        activation = functions[0][1] if whole else None
        tanh = np.tanh if whole and core.levels[0].groups[0].activation == "tanh" else None
        matrix, resets = self._matrices[0], self._resets(len(z))
        # of one environment, vectors: their products are faster than those with matrices of one column
        bare = (lambda a: a[..., 0]) if z.shape[2] == 1 else (lambda a: a)
        past, now = bare(z[:, core.shift]), bare(z[:, n_past:])
        before: Array = bare(np.ascontiguousarray(memory[core.history - 1]))
        dot, add = np.dot, np.add
        for x, outside, after, emptied, t in zip(now, bare(given), past, resets, range(len(z)), strict=True):
            if emptied and keep is not None:
                before = before * keep[t]
            dot(matrix, before, x)
            add(x, outside, x)
            if tanh is not None:  # the usual case, without a function around it
                tanh(x, x)
            elif activation is not None:
                activation(x)
            else:
                for place, function in functions:
                    function(x[place])
            before = after
        z[0, :n_past] = memory[core.history - 1]
        z[1:, :n_past] = z[:-1, core.shift]
        if keep is not None:
            z[:, :n_past] *= keep[:, None]

    def _simple_back(self, arriving: Array, slopes: Array, delta: Array) -> None:
        """Three operations per step."""
        keep, n_past = self._keep, len(self.core.history)
        transposed = np.ascontiguousarray(self._matrices[0].T)
        assert isinstance(self.core.shift, slice)
        readers = slice(self.core.shift.start - n_past, self.core.shift.stop - n_past)
        resets = self._resets(len(delta))
        bare = (lambda a: a[..., 0]) if delta.shape[2] == 1 else (lambda a: a)
        back: Array = bare(np.zeros((n_past, delta.shape[2]), delta.dtype))
        add, multiply, dot = np.add, np.multiply, np.dot
        backwards = (bare(a)[::-1] for a in (arriving, arriving[:, readers], slopes, delta))
        steps = range(len(delta) - 1, -1, -1)
        for here, read, slopes_now, d, emptied, t in zip(*backwards, resets[::-1], steps, strict=True):
            add(read, back, read)
            multiply(here, slopes_now, d)
            dot(transposed, d, back)
            if emptied and keep is not None:
                back *= keep[t]

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
        resets = self._resets(len(delta))
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
