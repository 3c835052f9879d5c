"""A graph's structure as batched operations: made once per structure, used by everything that runs the graph.

Per step all numbers lie in one vector z: the constant 1, the past activations that edges read (``history``), the
observation, then the neurons level by level. A level's weighted inputs are one matrix product with what lies before
it in z. Inside a level, neurons of one type and activation are neighbours, so each kind is one elementwise operation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from optix_neuroevo.graph import weights
from optix_neuroevo.graph.state_layout import HISTORY, StateLayout
from optix_neuroevo.neurons.activations import ACTIVATIONS
from optix_neuroevo.neurons.types import NeuronType
from optix_neuroevo.plan.order import phases

if TYPE_CHECKING:
    from optix_neuroevo.graph.neuron_graph import NeuronGraph

Array = NDArray[Any]
Ints = NDArray[np.int64]

INPUT, OUTPUT = 0, 2  # codes of roles


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Neighbouring rows of one level, of one neuron type and activation.

    Attributes:
        start: First row.
        stop: One beyond the last.
        type: Their type.
        activation: Of point neurons.
        slots: ``[n]`` neuron slots.
        variables: ``[S, n]`` where in the memory their state variables lie.
    """

    start: int
    stop: int
    type: NeuronType
    activation: str
    slots: Ints
    variables: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """Rows that can be computed at once.

    Attributes:
        start: First row.
        stop: One beyond the last.
        columns: How many columns of z its weights read, from the first: all that is known before it.
        phase: ``PRE``, ``CORE`` or ``POST``, see :func:`~optix_neuroevo.plan.order.phases`.
        groups: Its parts.
        offset: Where its weights ``[stop - start, columns]`` lie in the plan's buffer of weights.
    """

    start: int
    stop: int
    columns: int
    phase: int
    groups: tuple[Group, ...]
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What every executor of one structure needs.

    Attributes:
        layout: What one environment's memory consists of.
        n_inputs: Length of an observation.
        n_outputs: Length of the output.
        n_history: H, past activations; columns 1 to H of z.
        n_rows: R, neurons other than inputs.
        n_columns: Length of z: ``1 + H + n_inputs + R``. Row r is column ``first + r``.
        first: Column of row 0.
        levels: In the order in which they are computed.
        column_of: ``[neuron slots]`` column of each neuron's current activation, -1 in free slots.
        row_slots: ``[R]`` neuron slots.
        input_slots: ``[n_inputs]`` neuron slots.
        output_columns: ``[n_outputs]``.
        shift: ``[H]`` which column of z becomes each past activation of the next step.
        history_slots: ``[H]`` whose past activation a column is.
        history_lags: ``[H]`` from how many steps ago.
        edge_slots: ``[E]`` living edges.
        edge_rows: ``[E]`` which row each adds to.
        edge_columns: ``[E]`` which column each reads.
        edge_cells: ``[E]`` position in the buffer of weights.
        edge_forms: ``[E]`` see :mod:`optix_neuroevo.graph.weights`.
        edge_signs: ``[E]``.
        parallel: Whether several edges share a cell.
        bias_slots: Neuron slots of point neurons other than inputs.
        bias_cells: Position of their bias in the buffer of weights.
        buffer_size: Length of the buffer of weights.
    """

    layout: StateLayout
    n_inputs: int
    n_outputs: int
    n_history: int
    n_rows: int
    n_columns: int
    first: int
    levels: tuple[Level, ...]
    column_of: Ints
    row_slots: Ints
    input_slots: Ints
    output_columns: Ints
    shift: Ints
    history_slots: Ints
    history_lags: Ints
    edge_slots: Ints
    edge_rows: Ints
    edge_columns: Ints
    edge_cells: Ints
    edge_forms: Array
    edge_signs: Array
    parallel: bool
    bias_slots: Ints
    bias_cells: Ints
    buffer_size: int

    def fill(self, buffer: Array, edge_weights: Array, bias: Array) -> None:
        """Put effective weights ``[E]`` and biases into a buffer of weights that was made of zeros."""
        if self.parallel:
            buffer[self.edge_cells] = 0
            np.add.at(buffer, self.edge_cells, edge_weights)
        else:
            buffer[self.edge_cells] = edge_weights
        buffer[self.bias_cells] = bias

    def edge_weights(self, theta: Array) -> Array:
        """Effective weights ``[E]`` of living edges, given what is stored for all edge slots."""
        return weights.effective(theta[self.edge_slots], self.edge_forms, self.edge_signs)

    def matrix_of(self, buffer: Array, level: Level) -> Array:
        """A level's weights as a view ``[rows, columns]``."""
        n = level.stop - level.start
        return buffer[level.offset : level.offset + n * level.columns].reshape(n, level.columns)


def compile_plan(graph: NeuronGraph) -> Plan:
    """The plan of a graph as it is now."""
    table, edges, layout = graph.neurons, graph.edges, graph.state_layout()
    slots, edge_slots = table.slots(), edges.slots()
    n = len(slots)
    index = np.full(table.capacity, -1, np.int64)
    index[slots] = np.arange(n)
    src_slots, dst_slots = edges["src"][edge_slots], edges["dst"][edge_slots]
    delay = edges["delay"][edge_slots].astype(np.int64)
    types = [graph.type_at(s) for s in _first_of_each(table["type"][slots], slots)]
    by_code = {graph.type_names.index(t.name): t for t in types}
    stateful = np.array([bool(by_code[c].state) for c in table["type"][slots].tolist()], np.bool_)
    phase, depth = phases(n, index[src_slots], index[dst_slots], delay, stateful)
    role, position = table["role"][slots], table["position"][slots]

    inputs = np.flatnonzero(role == INPUT)
    inputs = inputs[np.argsort(position[inputs], kind="stable")]
    others = np.flatnonzero(role != INPUT)
    kind, activation = table["type"][slots].astype(np.int64), table["activation"][slots].astype(np.int64)
    order = others[
        np.lexsort((slots[others], activation[others], kind[others], depth[others], phase[others]))
    ]
    n_history = layout.n_history
    first = 1 + n_history + len(inputs)
    column = np.zeros(n, np.int64)
    column[inputs] = 1 + n_history + np.arange(len(inputs))
    column[order] = first + np.arange(len(order))
    column_of = np.full(table.capacity, -1, np.int64)
    column_of[slots] = column

    uid_slot = dict(zip(table["uid"][slots].tolist(), slots.tolist(), strict=True))
    owners = np.array([uid_slot[u] for u in layout.uid.tolist()], np.int64)
    history_slots, lags = owners[:n_history], layout.index[:n_history].astype(np.int64)
    # past activations of one neuron are neighbours, so the one a step younger is one column before
    shift = np.where(lags == 1, column_of[history_slots], np.arange(n_history))
    first_of = np.full(table.capacity, -1, np.int64)
    first_of[history_slots[lags == 1]] = 1 + np.flatnonzero(lags == 1)
    variables: dict[int, list[int]] = {}
    for place in range(n_history, layout.size):
        variables.setdefault(int(owners[place]), []).append(place)

    levels, offset = _levels(graph, slots, order, phase, depth, kind, activation, first, variables)
    rows = np.full(table.capacity, -1, np.int64)
    rows[slots[order]] = np.arange(len(order))
    edge_rows = rows[dst_slots]
    edge_columns = np.where(delay == 0, column_of[src_slots], first_of[src_slots] + delay - 1)
    base, width, start = _of_rows(levels, len(order))
    edge_cells = base[edge_rows] + (edge_rows - start[edge_rows]) * width[edge_rows] + edge_columns
    points = np.array([r for r, s in enumerate(slots[order].tolist()) if graph.type_at(s).is_point], np.int64)
    outputs = np.flatnonzero(role == OUTPUT)
    outputs = outputs[np.argsort(position[outputs], kind="stable")]
    return Plan(
        layout=layout, n_inputs=len(inputs), n_outputs=len(outputs), n_history=n_history, n_rows=len(order),
        n_columns=first + len(order), first=first, levels=levels, column_of=column_of, row_slots=slots[order],
        input_slots=slots[inputs], output_columns=column[outputs], shift=shift, history_slots=history_slots,
        history_lags=lags, edge_slots=edge_slots, edge_rows=edge_rows, edge_columns=edge_columns,
        edge_cells=edge_cells, edge_forms=edges["form"][edge_slots].copy(),
        edge_signs=weights.SIGNS[table["cell"][src_slots]].astype(graph.dtype),
        parallel=len(np.unique(edge_cells)) != len(edge_cells), bias_slots=slots[order][points],
        bias_cells=base[points] + (points - start[points]) * width[points], buffer_size=offset,
    )  # fmt: skip


def _first_of_each(codes: Array, slots: Ints) -> list[int]:
    return slots[np.unique(codes, return_index=True)[1]].tolist()


def _levels(
    graph: NeuronGraph, slots: Ints, order: Ints, phase: Ints, depth: Ints, kind: Ints, activation: Ints,
    first: int, variables: dict[int, list[int]],
) -> tuple[tuple[Level, ...], int]:  # fmt: skip
    levels: list[Level] = []
    offset = 0
    for start, stop in _runs(phase[order], depth[order]):
        inside = order[start:stop]
        groups: list[Group] = []
        for a, b in _runs(kind[inside], activation[inside]):
            members = slots[inside[a:b]]
            known = graph.type_at(int(members[0]))
            places = np.array([variables.get(s, []) for s in members.tolist()], np.int64)
            groups.append(
                Group(
                    start=start + a, stop=start + b, type=known,
                    activation=ACTIVATIONS[activation[inside[a]]], slots=members,
                    variables=places.reshape(b - a, len(known.state)).T,
                )
            )  # fmt: skip
        columns = first + start
        levels.append(
            Level(
                start=start, stop=stop, columns=columns, phase=int(phase[order[start]]),
                groups=tuple(groups), offset=offset,
            )
        )  # fmt: skip
        offset += (stop - start) * columns
    return tuple(levels), offset


def _runs(*keys: Ints) -> list[tuple[int, int]]:
    """Where consecutive elements are equal in all keys: (start, stop) of each run."""
    n = len(keys[0])
    if not n:
        return []
    new = np.zeros(n, np.bool_)
    new[0] = True
    for key in keys:
        new[1:] |= key[1:] != key[:-1]
    starts = np.flatnonzero(new)
    return list(zip(starts.tolist(), [*starts[1:].tolist(), n], strict=True))


def _of_rows(levels: tuple[Level, ...], n: int) -> tuple[Ints, Ints, Ints]:
    """For each row its level's offset, number of columns, and first row."""
    base, width, start = (np.zeros(n, np.int64) for _ in range(3))
    for level in levels:
        rows = slice(level.start, level.stop)
        base[rows], width[rows], start[rows] = level.offset, level.columns, level.start
    return base, width, start


assert HISTORY == 0  # the layout has past activations first
