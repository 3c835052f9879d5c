"""Whole sequences forward and backward in numpy, with the chain rule written out.

What is not recurrent is a few matrix products over all steps at once. The recurrent core is stepped through, but its
weights' gradients are products over all steps again. (Backpropagation through time: Werbos 1990, "Backpropagation
through time: what it does and how to do it".)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_neuroevo.neurons.activations import in_place, slope
from optix_neuroevo.neurons.types import NUMPY, Derivatives
from optix_neuroevo.plan.compile import Group, Plan
from optix_neuroevo.plan.sequence_layout import Batch, Core, Fill, SequenceLayout

Array = NDArray[Any]


class SequenceRun:
    """One pass over T steps of B sequences; :meth:`backward` may follow :meth:`forward` once.

    Args:
        plan: The plan.
        layout: Its order of work for sequences.
        buffer: Weights of all levels.
        own: Parameters ``[K, n]`` of each group that has any, by its first row.

    Attributes:
        z: ``[columns, T, B]``; past activations only where something needed them.
        delta: ``[rows, T, B]`` gradient by each neuron's weighted input, after :meth:`backward`.
    """

    def __init__(self, plan: Plan, layout: SequenceLayout, buffer: Array, own: Mapping[int, Array]) -> None:
        self.plan = plan
        self.layout = layout
        self._own = {start: values[:, :, None] for start, values in own.items()}
        self._matrices = {level.start: plan.matrix_of(buffer, level) for level in plan.levels}
        self._size = len(buffer)
        self._dtype = buffer.dtype
        self.z: Array = np.zeros(0, buffer.dtype)
        self.delta: Array = np.zeros(0, buffer.dtype)
        self._inputs: dict[int, Array] = {}  # weighted inputs of groups with a formula, by first row

    def forward(self, observations: Array, memory: Array, keep: Array | None) -> tuple[Array, Array]:
        """Run.

        Args:
            observations: ``[T, B, n_in]``.
            memory: ``[B, M]`` before the first step.
            keep: ``[T, B]`` 0 where memory is emptied before the step, else 1; None: 1 everywhere.

        Returns:
            Outputs ``[T, B, n_out]`` and the memory after the last step ``[B, M]``.
        """
        plan = self.plan
        steps, n = observations.shape[:2]
        self._memory = memory.T  # [M, B]
        self._keep = keep
        self.z = z = np.empty((plan.n_columns, steps, n), self._dtype)
        z[0] = 1.0
        z[1 + plan.n_history : plan.first] = observations.transpose(2, 0, 1)
        for batch in self.layout.before:
            self._batch(batch)
        variables: Array = np.zeros((plan.layout.size - plan.n_history, n), self._dtype)
        if self.layout.core is not None:
            self._core_forward(self.layout.core, variables)
        for batch in self.layout.after:
            self._batch(batch)
        outputs = z[plan.output_columns].transpose(1, 2, 0)
        after = np.concatenate([self._last_history(), variables])
        return np.ascontiguousarray(outputs), np.ascontiguousarray(after.T)

    def backward(self, gradient: Array) -> tuple[Array, dict[int, Array], Array]:
        """The gradients of a number whose gradient by the outputs is ``gradient`` ``[T, B, n_out]``.

        Returns:
            By the buffer of weights, by the parameters of each group (as ``own``), and by the observations.
        """
        plan, z = self.plan, self.z
        self._dz = dz = np.zeros_like(z)
        self.delta = np.zeros((plan.n_rows, *z.shape[1:]), self._dtype)
        self._buffer_gradient: Array = np.zeros(self._size, self._dtype)
        self._own_gradient: dict[int, Array] = {}
        dz[plan.output_columns] = gradient.transpose(2, 0, 1)
        for batch in reversed(self.layout.after):
            self._batch_backward(batch)
        if self.layout.core is not None:
            self._core_backward(self.layout.core)
        for batch in reversed(self.layout.before):
            self._batch_backward(batch)
        inputs = dz[1 + plan.n_history : plan.first].transpose(1, 2, 0)
        return self._buffer_gradient, self._own_gradient, np.ascontiguousarray(inputs)

    # --- all steps at once ---------------------------------------------------------------------------------------

    def _fill(self, fills: Sequence[Fill]) -> None:
        z, keep = self.z, self._keep
        for fill in fills:
            z[fill.columns, 0] = self._memory[fill.columns - 1]
            z[fill.columns, 1:] = z[fill.sources, :-1]
            if keep is not None:
                z[fill.columns] *= keep

    def _unfill(self, fills: Sequence[Fill]) -> None:
        dz, keep = self._dz, self._keep
        for fill in reversed(fills):
            back = dz[fill.columns]
            if keep is not None:
                back *= keep
            dz[fill.sources, :-1] += back[:, 1:]

    def _batch(self, batch: Batch) -> None:
        level, z = batch.level, self.z
        self._fill(batch.fills)
        rows = z[self.plan.first + level.start : self.plan.first + level.stop]
        matrix = self._matrices[level.start]
        np.dot(_contiguous(matrix[:, batch.reads]), _flat(z[batch.reads]), out=_flat(rows))
        rows += matrix[:, 0, None, None]
        for g in level.groups:
            here = rows[g.start - level.start : g.stop - level.start]
            if g.type.step is None:
                _activate(g, here)
            else:
                self._inputs[g.start] = here.reshape(len(here), -1).copy()
                value, _ = g.type.step(self._inputs[g.start], (), self._own.get(g.start, ()), NUMPY)
                here[...] = value.reshape(here.shape)

    def _batch_backward(self, batch: Batch) -> None:
        level, first = batch.level, self.plan.first
        delta = self.delta[level.start : level.stop]
        for g in level.groups:
            by_h = self._dz[first + g.start : first + g.stop]
            here = delta[g.start - level.start : g.stop - level.start]
            if g.type.step is None:
                np.multiply(by_h, slope(g.activation, self.z[first + g.start : first + g.stop]), out=here)
                continue
            found = self._derivatives(g, self._inputs[g.start], ())
            here[...] = (by_h.reshape(len(here), -1) * found.h_x).reshape(here.shape)
            self._add_own(g, found, by_h.reshape(len(here), -1), ())
        self._products(level.start, level.stop, batch.reads, _flat(delta), self._matrices[level.start])
        self._unfill(batch.fills)

    def _products(self, start: int, stop: int, reads: Any, delta: Array, matrix: Array) -> None:
        """Gradients by a block of weights and by what it read."""
        level = next(lv for lv in self.plan.levels if lv.start == start)
        read = _flat(self.z[reads])
        assert level.stop == stop
        target = self.plan.matrix_of(self._buffer_gradient, level)
        target[:, reads] += delta @ read.T
        target[:, 0] += delta.sum(axis=1)
        back = _contiguous(matrix[:, reads]).T @ delta
        self._dz[reads] += back.reshape(len(back), *self.z.shape[1:])

    # --- step by step --------------------------------------------------------------------------------------------

    def _core_forward(self, core: Core, variables: Array) -> None:
        plan, z, keep = self.plan, self.z, self._keep
        steps, n = z.shape[1:]
        self._fill(core.fills)
        rows, n_past = core.stop - core.start, len(core.history)
        base = np.empty((rows, steps * n), self._dtype)
        known = _flat(z[core.known])
        for level in core.levels:
            block = _contiguous(self._matrices[level.start][:, core.known])
            here = base[level.start - core.start : level.stop - core.start]
            np.dot(block, known, out=here)
            here += self._matrices[level.start][:, :1]
        given = np.ascontiguousarray(base.reshape(rows, steps, n).transpose(1, 0, 2))
        own = np.empty((steps, n_past + rows, n), self._dtype)
        held = {g.start: self._memory[g.variables] for lv in core.levels for g in lv.groups if g.type.state}
        self._before: dict[int, Array] = {
            start: np.empty((steps, *values.shape), self._dtype) for start, values in held.items()
        }
        work: list[tuple[Array, int, slice, slice, list[tuple[Group, slice, Any]]]] = []
        self._core_matrices = []
        for level in core.levels:
            a, b = n_past + level.start - core.start, n_past + level.stop - core.start
            matrix = _contiguous(self._matrices[level.start][:, core.own[:a]])
            groups = [
                (g, slice(n_past + g.start - core.start, n_past + g.stop - core.start), _function(g))
                for g in level.groups
            ]
            for g in level.groups:
                if g.type.step is not None:
                    self._inputs[g.start] = np.empty((steps, g.stop - g.start, n), self._dtype)
            work.append((matrix, a, slice(a, b), slice(a - n_past, b - n_past), groups))
            self._core_matrices.append(matrix)
        resets = None if keep is None else (keep == 0).any(axis=1).tolist()
        previous: Array | None = None
        for t in range(steps):
            now = own[t]
            if n_past:
                past = now[:n_past]
                if previous is None:
                    past[...] = self._memory[core.history - 1]
                else:
                    past[...] = previous[core.shift]
            if resets is not None and keep is not None and resets[t]:
                if n_past:
                    now[:n_past] *= keep[t]
                held = {start: states * keep[t] for start, states in held.items()}
            for matrix, k, here, rows_here, groups in work:
                x = now[here]
                if k:
                    np.dot(matrix, now[:k], out=x)
                    x += given[t, rows_here]
                else:
                    x[...] = given[t, rows_here]
                for g, place, function in groups:
                    if g.type.step is None:
                        if function is not None:
                            function(now[place])
                        continue
                    self._inputs[g.start][t] = now[place]
                    states = held.get(g.start, ())
                    if g.type.state:
                        self._before[g.start][t] = states
                    value, after = g.type.step(
                        self._inputs[g.start][t], states, self._own.get(g.start, ()), NUMPY
                    )
                    now[place] = value
                    if g.type.state:
                        held[g.start] = np.stack(after)
            previous = now
        self._core_z = own
        first = plan.first + core.start
        z[first : first + rows] = own[:, n_past:].transpose(1, 0, 2)
        for level in core.levels:
            for g in level.groups:
                if g.type.state:
                    variables[g.variables - plan.n_history] = held[g.start]

    def _core_backward(self, core: Core) -> None:
        plan, own = self.plan, self._core_z
        steps, width, n = own.shape
        n_past = len(core.history)
        rows, first = width - n_past, plan.first + core.start
        arriving = np.ascontiguousarray(self._dz[first : first + rows].transpose(1, 0, 2))
        delta = np.empty((steps, rows, n), self._dtype)
        slopes = np.empty((steps, rows, n), self._dtype)
        local: dict[int, Derivatives] = {}
        by_h: dict[int, Array] = {}
        by_state: dict[int, Array] = {}
        carried: dict[int, list[Array]] = {}
        for level in core.levels:
            for g in level.groups:
                place = slice(g.start - core.start, g.stop - core.start)
                if g.type.step is None:
                    slopes[:, place] = slope(g.activation, own[:, n_past + place.start : n_past + place.stop])
                    continue
                before = self._before.get(g.start)
                states = () if before is None else tuple(before[:, j] for j in range(before.shape[1]))
                local[g.start] = self._derivatives(g, self._inputs[g.start], states)
                by_h[g.start] = np.empty((steps, g.stop - g.start, n), self._dtype)
                by_state[g.start] = np.zeros((len(states), steps, g.stop - g.start, n), self._dtype)
                carried[g.start] = [np.zeros((g.stop - g.start, n), self._dtype) for _ in states]
        if _is_simple(core):
            self._simple_back(core, arriving, slopes, delta)
        else:
            self._general_back(core, arriving, slopes, delta, local, by_h, by_state, carried)
        self._core_gradients(core, delta, local, by_h, by_state)

    def _general_back(
        self, core: Core, arriving: Array, slopes: Array, delta: Array, local: dict[int, Derivatives],
        by_h: dict[int, Array], by_state: dict[int, Array], carried: dict[int, list[Array]],
    ) -> None:  # fmt: skip
        keep = self._keep
        steps, rows, n = delta.shape
        n_past = len(core.history)
        width = n_past + rows
        transposed = [np.ascontiguousarray(matrix.T) for matrix in self._core_matrices]
        resets = [False] * steps if keep is None else (keep == 0).any(axis=1).tolist()
        now: Array = np.zeros((width, n), self._dtype)
        here_rows = now[n_past:]
        back: Array = np.zeros((n_past, n), self._dtype)  # by the past activations of the step after
        for t in range(steps - 1, -1, -1):
            now[:n_past] = 0.0
            here_rows[...] = arriving[t]
            if n_past:
                now[core.shift] += back
            for level, matrix in zip(reversed(core.levels), reversed(transposed), strict=True):
                a, b = level.start - core.start, level.stop - core.start
                for g in level.groups:
                    place = slice(g.start - core.start, g.stop - core.start)
                    d = delta[t, place]
                    if g.type.step is None:
                        np.multiply(here_rows[place], slopes[t, place], out=d)
                    else:
                        self._step_back(g, local[g.start], t, here_rows[place], d, by_h, by_state, carried)
                if n_past + a:
                    now[: n_past + a] += matrix @ delta[t, a:b]
            back[...] = now[:n_past]
            if keep is not None and resets[t]:
                back *= keep[t]
                for states in carried.values():
                    for state in states:
                        np.multiply(state, keep[t], out=state)

    def _simple_back(self, core: Core, arriving: Array, slopes: Array, delta: Array) -> None:
        """One level of point neurons that read each other one step later: three operations per step."""
        keep = self._keep
        (matrix,) = self._core_matrices
        transposed = np.ascontiguousarray(matrix.T)
        n_past = len(core.history)
        assert isinstance(core.shift, slice)
        readers = slice(core.shift.start - n_past, core.shift.stop - n_past)
        resets = [False] * len(delta) if keep is None else (keep == 0).any(axis=1).tolist()
        back: Array = np.zeros((n_past, delta.shape[2]), self._dtype)
        for t in range(len(delta) - 1, -1, -1):
            here, d = arriving[t], delta[t]
            here[readers] += back
            np.multiply(here, slopes[t], out=d)
            np.dot(transposed, d, out=back)
            if keep is not None and resets[t]:
                back *= keep[t]

    def _step_back(
        self, g: Group, local: Derivatives, t: int, arrived: Array, d: Array,
        by_h: dict[int, Array], by_state: dict[int, Array], carried: dict[int, list[Array]],
    ) -> None:  # fmt: skip
        states = carried[g.start]
        by_h[g.start][t] = arrived
        np.multiply(arrived, local.h_x[t], out=d)
        for j, state in enumerate(states):
            by_state[g.start][j, t] = state
            d += state * local.state_x[j][t]
        if not g.type.is_recurrent:
            return
        carried[g.start] = [
            arrived * local.h_state[i][t]
            + sum(state * local.state_state[j][i][t] for j, state in enumerate(states))
            for i in range(len(states))
        ]

    def _core_gradients(
        self, core: Core, delta: Array, local: dict[int, Derivatives], by_h: dict[int, Array],
        by_state: dict[int, Array],
    ) -> None:  # fmt: skip
        """What needs no stepping: gradients by weights, by parameters, and by what was known before."""
        steps, _, n = delta.shape
        ordered = self.delta[core.start : core.stop]
        ordered[...] = delta.transpose(1, 0, 2)
        flat = _flat(ordered)
        short = np.ascontiguousarray(self._core_z.transpose(1, 0, 2)).reshape(-1, steps * n)
        known = _flat(self.z[core.known])
        by_known, by_own = flat @ known.T, flat @ short.T
        back: Array = np.zeros((known.shape[0], steps * n), self._dtype)
        for level in core.levels:
            a, b = level.start - core.start, level.stop - core.start
            target = self.plan.matrix_of(self._buffer_gradient, level)
            target[:, core.known] += by_known[a:b]
            target[:, 0] += flat[a:b].sum(axis=1)
            past = len(core.history) + a
            target[:, core.own[:past]] += by_own[a:b, :past]
            back += _contiguous(self._matrices[level.start][:, core.known]).T @ flat[a:b]
            for g in level.groups:
                if g.type.parameters:
                    self._add_own(g, local[g.start], by_h[g.start], by_state[g.start])
        self._dz[core.known] += back.reshape(len(back), steps, n)
        self._unfill(core.fills)

    # --- shared --------------------------------------------------------------------------------------------------

    def _derivatives(self, g: Group, x: Array, states: Any) -> Derivatives:
        assert g.type.jacobian is not None
        return g.type.jacobian(x, states, self._own.get(g.start, ()))

    def _add_own(self, g: Group, found: Derivatives, by_h: Array, by_state: Any) -> None:
        """Gradient by the parameters of a group; arrays are ``[T, n, B]`` or ``[n, T * B]``."""
        if not g.type.parameters:
            return
        axes = (0, 2) if by_h.ndim == 3 else (1,)
        total = np.empty((len(g.type.parameters), g.stop - g.start), self._dtype)
        for k, by_parameter in enumerate(found.h_parameters):
            part = by_h * by_parameter
            for j, cotangent in enumerate(by_state):
                part = part + cotangent * found.state_parameters[j][k]
            total[k] = part.sum(axis=axes)
        self._own_gradient[g.start] = total

    def _last_history(self) -> Array:
        """``[H, B]``: past activations as the step after the last one would find them."""
        plan, z, keep = self.plan, self.z, self._keep
        steps, n = z.shape[1:]
        found: Array = np.zeros((plan.n_history, n), self._dtype)
        for lag in range(1, int(plan.history_lags.max(initial=0)) + 1):
            places = np.flatnonzero(plan.history_lags == lag)
            at = steps - lag
            if at >= 0:
                found[places] = z[plan.column_of[plan.history_slots[places]], at]
            else:  # older than the sequence: what the memory had, so many places further back
                found[places] = self._memory[places - steps]
            if keep is not None:
                found[places] *= keep[max(at + 1, 0) :].prod(axis=0)
        return found


def _is_simple(core: Core) -> bool:
    """One level of point neurons, whose own past activations are all from one step ago."""
    return (
        len(core.levels) == 1
        and all(g.type.step is None for g in core.levels[0].groups)
        and isinstance(core.shift, slice)
        and core.shift.start >= len(core.history)
    )


def _flat(block: Array) -> Array:
    """``[k, T, B]`` as ``[k, T * B]``, a view."""
    return block.reshape(len(block), block.shape[1] * block.shape[2])


def _contiguous(matrix: Array) -> Array:
    return np.ascontiguousarray(matrix)


def _function(g: Group) -> Any:
    return in_place(g.activation) if g.type.step is None else None


def _activate(g: Group, here: Array) -> None:
    function = in_place(g.activation)
    if function is not None:
        function(here)
