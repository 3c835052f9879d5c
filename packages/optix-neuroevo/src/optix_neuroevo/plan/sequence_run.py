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
from optix_neuroevo.plan.sequence_core import CoreRun, parameter_gradient
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
        np.dot(np.ascontiguousarray(matrix[:, batch.reads]), _flat(z[batch.reads]), out=_flat(rows))
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
            self._add_own(g, found, by_h.reshape(len(here), -1))
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
        back = np.ascontiguousarray(matrix[:, reads]).T @ delta
        self._dz[reads] += back.reshape(len(back), *self.z.shape[1:])

    # --- the core ------------------------------------------------------------------------------------------------

    def _core_forward(self, core: Core, variables: Array) -> None:
        plan, z = self.plan, self.z
        steps, n = z.shape[1:]
        self._fill(core.fills)
        rows, n_past = core.stop - core.start, len(core.history)
        given = np.empty((rows, steps * n), self._dtype)
        known = _flat(z[core.known])
        own: list[Array] = []
        for level in core.levels:
            matrix = self._matrices[level.start]
            here = given[level.start - core.start : level.stop - core.start]
            np.dot(np.ascontiguousarray(matrix[:, core.known]), known, out=here)
            here += matrix[:, :1]
            own.append(np.ascontiguousarray(matrix[:, core.own[: n_past + level.start - core.start]]))
        self._core = CoreRun(plan, core, own, self._own)
        ordered = np.ascontiguousarray(given.reshape(rows, steps, n).transpose(1, 0, 2))
        self._core.forward(ordered, self._memory, self._keep)
        first = plan.first + core.start
        z[first : first + rows] = self._core.z[:, n_past:].transpose(1, 0, 2)
        for level in core.levels:
            for g in level.groups:
                for row, state in zip(g.variables, self._core.held.get(g.start, ()), strict=True):
                    variables[row - plan.n_history] = state

    def _core_backward(self, core: Core) -> None:
        """Step back, then everything that needs no stepping: gradients by weights and by what was known before."""
        plan = self.plan
        steps, n = self.z.shape[1:]
        first, last = plan.first + core.start, plan.first + core.stop
        by_h = np.ascontiguousarray(self._dz[first:last].transpose(1, 0, 2))
        ordered = self.delta[core.start : core.stop]
        ordered[...] = self._core.backward(by_h).transpose(1, 0, 2)
        self._own_gradient |= self._core.own_gradient
        flat = _flat(ordered)
        short = np.ascontiguousarray(self._core.z.transpose(1, 0, 2)).reshape(-1, steps * n)
        known = _flat(self.z[core.known])
        by_known, by_own, by_bias = flat @ known.T, flat @ short.T, flat.sum(axis=1)
        back: Array = np.zeros((len(known), steps * n), self._dtype)
        for level in core.levels:
            a, b = level.start - core.start, level.stop - core.start
            target = plan.matrix_of(self._buffer_gradient, level)
            target[:, core.known] += by_known[a:b]
            target[:, 0] += by_bias[a:b]
            past = len(core.history) + a
            target[:, core.own[:past]] += by_own[a:b, :past]
            back += np.ascontiguousarray(self._matrices[level.start][:, core.known]).T @ flat[a:b]
        self._dz[core.known] += back.reshape(len(back), steps, n)
        self._unfill(core.fills)

    # --- shared --------------------------------------------------------------------------------------------------

    def _derivatives(self, g: Group, x: Array, states: Any) -> Derivatives:
        assert g.type.jacobian is not None
        return g.type.jacobian(x, states, self._own.get(g.start, ()))

    def _add_own(self, g: Group, found: Derivatives, by_h: Array) -> None:
        if g.type.parameters:
            self._own_gradient[g.start] = parameter_gradient(g, found, by_h, ())

    def _last_history(self) -> Array:
        """``[H, B]``: past activations as the step after the last one would find them."""
        plan, z, keep = self.plan, self.z, self._keep
        steps, n = z.shape[1:]
        found: Array = np.zeros((plan.n_history, n), self._dtype)
        for lag, places, columns in self.layout.last:
            at = steps - lag
            if at >= 0:
                found[places] = z[columns, at]
            else:  # older than the sequence: what the memory had, so many places further back
                found[places] = self._memory[places - steps]
            if keep is not None:
                found[places] *= keep[max(at + 1, 0) :].prod(axis=0)
        return found


def _flat(block: Array) -> Array:
    """``[k, T, B]`` as ``[k, T * B]``, a view."""
    return block.reshape(len(block), block.shape[1] * block.shape[2])


def _activate(g: Group, here: Array) -> None:
    function = in_place(g.activation)
    if function is not None:
        function(here)
