"""What of a plan can be computed for all steps of a sequence at once, and what has to be stepped through."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optix_neuroevo.graph import weights
from optix_neuroevo.plan.compile import Group, Ints, Level, Plan
from optix_neuroevo.plan.order import CORE, POST, PRE

Columns = slice | Ints
"""A slice where columns are neighbours: a view instead of a copy."""


@dataclass(frozen=True, slots=True)
class Fill:
    """Past activations that are made of something a step younger.

    Attributes:
        columns: Columns of z to fill.
        sources: Column of what each is one step later.
    """

    columns: Ints
    sources: Ints


@dataclass(frozen=True, slots=True)
class Batch:
    """A level before or after the core: one product for all steps.

    Attributes:
        level: Which.
        reads: Columns of z that its weights are not zero for, without the constant.
        fills: What has to be filled before, in order.
    """

    level: Level
    reads: Columns
    fills: tuple[Fill, ...]


@dataclass(frozen=True, slots=True)
class Core:
    """The recurrent part.

    Inside it numbers lie in a shorter vector: Hc past activations of core neurons, then the core's neurons.

    Attributes:
        levels: Its levels.
        start: Its first row.
        stop: One beyond its last row.
        known: Columns of z that it reads and that are known for all steps before it begins, without the constant.
        fills: What has to be filled before.
        history: ``[Hc]`` columns of z of its own past activations.
        own: ``[Hc + rows]`` columns of z, in the order of the short vector.
        shift: ``[Hc]`` which element of the short vector becomes each past activation of the next step.
    """

    levels: tuple[Level, ...]
    start: int
    stop: int
    known: Columns
    fills: tuple[Fill, ...]
    history: Ints
    own: Ints
    shift: Columns


@dataclass(frozen=True, slots=True)
class SequenceLayout:
    """The order of work for whole sequences.

    Attributes:
        before: Levels before the core.
        core: None if nothing is recurrent.
        after: Levels after it.
        own: Groups whose neurons have parameters of their own.
        constrained: Some weights in effect are not what is stored.
        last: For each lag: which past activations are of so long ago, and columns of whom they are.
    """

    before: tuple[Batch, ...]
    core: Core | None
    after: tuple[Batch, ...]
    own: tuple[Group, ...]
    constrained: bool
    last: tuple[tuple[int, Ints, Ints], ...]


def sequence_layout(plan: Plan) -> SequenceLayout:
    """The order of work for a plan."""
    filled = np.zeros(plan.n_history + 1, np.bool_)
    phase_of_row = np.zeros(plan.n_rows, np.int64)
    for level in plan.levels:
        phase_of_row[level.start : level.stop] = level.phase
    in_core = np.zeros(plan.n_columns, np.bool_)
    in_core[plan.first :] = phase_of_row == CORE

    def fills(reads: Ints) -> tuple[Fill, ...]:
        wanted = reads[(reads >= 1) & (reads <= plan.n_history)]
        chain: list[int] = []
        for column in wanted.tolist():
            lag = int(plan.history_lags[column - 1])
            chain += [c for c in range(column - lag + 1, column + 1) if not filled[c]]
            filled[column - lag + 1 : column + 1] = True
        columns = np.array(chain, np.int64)
        lags = plan.history_lags[columns - 1]
        return tuple(
            Fill(picked, plan.shift[picked - 1])
            for lag in np.unique(lags).tolist()
            for picked in [columns[lags == lag]]
        )

    def batch(level: Level) -> Batch:
        reads = _reads(plan, level.start, level.stop)
        return Batch(level, as_slice(reads), fills(reads))

    before = tuple(batch(level) for level in plan.levels if level.phase == PRE)
    core = None
    inside = tuple(level for level in plan.levels if level.phase == CORE)
    if inside:
        start, stop = inside[0].start, inside[-1].stop
        reads = _reads(plan, start, stop)
        past = (reads >= 1) & (reads <= plan.n_history)
        owner = np.zeros(len(reads), np.int64)
        owner[past] = plan.column_of[plan.history_slots[reads[past] - 1]]
        own_past = past & in_core[owner]
        known = reads[~own_past & ~in_core[reads]]
        history: list[int] = []
        deepest: dict[int, int] = {}
        for column in reads[own_past].tolist():
            lag = int(plan.history_lags[column - 1])
            first = column - lag + 1
            deepest[first] = max(deepest.get(first, 0), lag)
        for first, lag in sorted(deepest.items()):
            history += range(first, first + lag)
        columns = np.array(history, np.int64)
        own = np.concatenate([columns, np.arange(plan.first + start, plan.first + stop)])
        place = np.full(plan.n_columns, -1, np.int64)
        place[own] = np.arange(len(own))
        shift = place[plan.shift[columns - 1]]
        core = Core(inside, start, stop, as_slice(known), fills(known), columns, own, as_slice(shift))
    after = tuple(batch(level) for level in plan.levels if level.phase == POST)
    own = tuple(g for level in plan.levels for g in level.groups if g.type.parameters)
    last = tuple(
        (lag, places, plan.column_of[plan.history_slots[places]])
        for lag in np.unique(plan.history_lags).tolist()
        for places in [np.flatnonzero(plan.history_lags == lag)]
    )
    constrained = bool((plan.edge_forms != weights.FREE).any())
    return SequenceLayout(before, core, after, own, constrained, last)


def as_slice(columns: Ints) -> Columns:
    """The same columns as a slice if they are neighbours in ascending order."""
    if len(columns) and bool((np.diff(columns) == 1).all()):
        return slice(int(columns[0]), int(columns[-1]) + 1)
    return columns


def _reads(plan: Plan, start: int, stop: int) -> Ints:
    """Columns read by rows of a range, without the constant."""
    chosen = (plan.edge_rows >= start) & (plan.edge_rows < stop)
    return np.unique(plan.edge_columns[chosen])
