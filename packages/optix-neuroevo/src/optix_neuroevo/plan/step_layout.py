"""How one step of a plan is laid out for acting: which weights are matrices, and which are picked one by one.

A matrix product over past activations of which a neuron reads two costs as much as if it read all of them. So the
weights of a level are split: edges within the step are a matrix; edges with a delay are one too, unless they are few
among many, in which case what each reads is gathered, multiplied and added. (The format with equally many entries in
every row is known as ELLPACK.)

Here numbers lie in another order than in the plan: past activations, the constant 1, observation, neurons. So what is
read within the step is a range of neighbours without them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_neuroevo.plan.compile import Ints, Level, Plan

Array = NDArray[Any]

MANY = 16384
"""Weights of a matrix below which nothing is gained."""
FEW = 8
"""Most entries of a row that are picked; more are a matrix."""
SHARE = 12
"""A matrix must be so many times larger than what is picked instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLevel:
    """One level.

    Attributes:
        level: Of the plan.
        low: First place that its matrix reads.
        high: One beyond the last.
        offset: Where the matrix ``[rows, high - low]`` lies in the buffer.
        picked: ``[K * rows]`` places of past activations that are picked, K for each row, one K after the other.
        picks: K; 0 if nothing is picked.
        picked_offset: Where their weights lie in the buffer.
    """

    level: Level
    low: int
    high: int
    offset: int
    picked: Ints
    picks: int
    picked_offset: int

    def matrix(self, buffer: Array) -> Array:
        """The matrix as a view of the buffer; a tall one lies column by column, which products are faster with."""
        n, width = self.level.stop - self.level.start, self.high - self.low
        cells = buffer[self.offset : self.offset + n * width]
        return cells.reshape(width, n).T if n > width else cells.reshape(n, width)

    def picked_weights(self, buffer: Array) -> Array:
        """``[K * rows]`` as a view of the buffer."""
        return buffer[self.picked_offset : self.picked_offset + len(self.picked)]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLayout:
    """The split of all levels.

    Attributes:
        levels: In the order of the plan.
        one: Place of the constant 1; past activations lie before it.
        shift: ``[H]`` place of what becomes each past activation of the next step.
        edge_cells: ``[E]`` position of each edge's weight in the buffer.
        bias_cells: Of biases, as in the plan.
        size: Length of the buffer.
        direct: Past activations are only picked, and all of one step ago: they need not be kept apart.
    """

    levels: tuple[StepLevel, ...]
    one: int
    shift: Ints
    edge_cells: Ints
    bias_cells: Ints
    size: int
    direct: bool

    def fill(self, plan: Plan, buffer: Array, edge_weights: Array, bias: Array) -> None:
        """Put effective weights ``[E]`` and biases into a buffer that was made of zeros."""
        if plan.parallel:
            buffer[self.edge_cells] = 0
            np.add.at(buffer, self.edge_cells, edge_weights)
        else:
            buffer[self.edge_cells] = edge_weights
        buffer[self.bias_cells] = bias


def step_layout(plan: Plan) -> StepLayout:
    """The split for a plan."""
    h = plan.n_history
    places = np.arange(plan.n_columns)
    places[: h + 1] = np.roll(places[: h + 1], 1)  # the constant comes behind the past
    reads, levels = places[plan.edge_columns], list[StepLevel]()
    cells, bias_cells = np.zeros(len(reads), np.int64), np.zeros(len(plan.bias_slots), np.int64)
    points = plan.column_of[plan.bias_slots] - plan.first
    offset = 0
    for level in plan.levels:
        n = level.stop - level.start
        mine = (plan.edge_rows >= level.start) & (plan.edge_rows < level.stop)
        past = np.flatnonzero(mine & (reads < h))
        now = reads[mine & (reads >= h)]
        picked, at, picks = _picked(plan.edge_rows[past] - level.start, reads[past], n, h)
        low = h if picks or not len(past) else int(reads[past].min())
        high = 1 + max(h, int(now.max(initial=h)))
        width = high - low
        rows = plan.edge_rows - level.start
        across, down = (n, 1) if n > width else (1, width)
        cells[mine] = offset + rows[mine] * down + (reads[mine] - low) * across
        end = offset + n * width
        if picks:
            cells[past] = end + at
        levels.append(
            StepLevel(
                level=level, low=low, high=high, offset=offset, picked=picked, picks=picks, picked_offset=end
            )
        )  # fmt: skip
        here = (points >= level.start) & (points < level.stop)
        bias_cells[here] = offset + (points[here] - level.start) * down + (h - low) * across
        offset = end + len(picked)
    return StepLayout(
        levels=tuple(levels), one=h, shift=places[plan.shift], edge_cells=cells, bias_cells=bias_cells, size=offset,
        direct=all(lv.low >= h for lv in levels) and int(plan.history_lags.max(initial=1)) == 1,
    )  # fmt: skip


def _picked(rows: Ints, columns: Ints, n: int, width: int) -> tuple[Ints, Ints, int]:
    """What is picked ``[K * n]``, where each edge's weight lies in it, and K; all empty if a matrix is better."""
    none = np.zeros(0, np.int64)
    if n * width < MANY or not len(rows):
        return none, none, 0
    pairs, which = np.unique(rows * width + columns, return_inverse=True)  # parallel edges share an entry
    row = pairs // width
    rank = np.arange(len(pairs)) - np.searchsorted(row, row)
    k = int(rank.max()) + 1
    if k > FEW or k * n * SHARE > n * width:
        return none, none, 0
    found = np.zeros(k * n, np.int64)
    found[rank * n + row] = pairs % width
    return found, (rank * n + row)[which.reshape(-1)], k
