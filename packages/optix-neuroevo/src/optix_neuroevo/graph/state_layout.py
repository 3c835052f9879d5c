"""What one environment's memory of a graph consists of, and how it survives a change of the graph.

The memory is a row of numbers. Each belongs to a neuron: a past activation, ``lag`` steps ago, which the neuron keeps
because it has an outgoing edge of at least that delay; or a state variable of the neuron's type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_neuroevo.graph.tables import Table
from optix_neuroevo.neurons.types import neuron_type

Array = NDArray[Any]
Key = tuple[int, int, int]
"""(uid of the neuron, 0 and the lag; or 1 and the index of a state variable)."""

HISTORY, VARIABLE = 0, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StateLayout:
    """The columns of a memory ``[N, M]``: first all past activations, neuron by neuron, then all state variables.

    Attributes:
        uid: ``[M]`` whose it is.
        kind: ``[M]`` ``HISTORY`` or ``VARIABLE``.
        index: ``[M]`` the lag, from 1; or the index of the state variable, from 0.
    """

    uid: NDArray[np.int64]
    kind: NDArray[np.int8]
    index: NDArray[np.int32]

    @property
    def size(self) -> int:
        """M."""
        return len(self.uid)

    @property
    def n_history(self) -> int:
        """How many columns are past activations."""
        return int((self.kind == HISTORY).sum())

    def keys(self) -> list[Key]:
        """Each column's key."""
        return list(zip(self.uid.tolist(), self.kind.tolist(), self.index.tolist(), strict=True))

    def same_as(self, other: StateLayout) -> bool:
        """Whether all columns mean the same."""
        return (
            self.size == other.size
            and bool((self.uid == other.uid).all())
            and bool((self.kind == other.kind).all())
            and bool((self.index == other.index).all())
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StateMigration:
    """How memory of one layout becomes memory of another: each new column is a multiple of one old column, or zero.

    Attributes:
        before: Layout of the memory that there is.
        after: Layout of the memory that is wanted.
        source: ``[M after]`` old column, -1 for zero.
        scale: ``[M after]``.
    """

    before: StateLayout
    after: StateLayout
    source: NDArray[np.int64]
    scale: NDArray[np.float64]

    def __call__(self, memory: Array) -> Array:
        """Memory ``[..., M before]`` as memory ``[..., M after]``; a new array.

        Raises:
            ValueError: The memory is of another size.
        """
        if memory.shape[-1] != self.before.size:
            raise ValueError(f"memory has {memory.shape[-1]} columns, expected {self.before.size}")
        if not self.before.size:
            return np.zeros((*memory.shape[:-1], self.after.size), memory.dtype)
        moved = memory[..., np.maximum(self.source, 0)] * self.scale.astype(memory.dtype)
        moved[..., self.source < 0] = 0.0
        return moved

    @classmethod
    def build(
        cls, before: StateLayout, after: StateLayout, origin: Callable[[Key], tuple[Key, float] | None]
    ) -> StateMigration:
        """Put one together.

        Args:
            before: Layout of the memory that there is.
            after: Layout of the memory that is wanted.
            origin: New key to the old one it comes from and the factor; None for zero.
        """
        columns = {key: column for column, key in enumerate(before.keys())}
        source, scale = np.full(after.size, -1, np.int64), np.zeros(after.size)
        for j, key in enumerate(after.keys()):
            found = origin(key)
            if found is not None and found[0] in columns:
                source[j], scale[j] = columns[found[0]], found[1]
        return cls(before=before, after=after, source=source, scale=scale)

    @classmethod
    def by_key(cls, before: StateLayout, after: StateLayout) -> StateMigration:
        """Every column that both have is kept; others are zero."""
        return cls.build(before, after, lambda key: (key, 1.0))


def depths_of(neurons: Table, edges: Table) -> NDArray[np.int64]:
    """How many past activations each neuron slot keeps: its largest outgoing delay, or what it was told to."""
    depth = neurons["keep"].astype(np.int64)
    chosen = edges.alive
    np.maximum.at(depth, edges["src"][chosen], edges["delay"][chosen])
    depth[~neurons.alive] = 0
    return depth


def layout_of(neurons: Table, depth: NDArray[np.int64], type_names: Sequence[str]) -> StateLayout:
    """The layout that follows from a graph's neurons.

    Args:
        neurons: Neuron slots.
        depth: ``[neuron slots]``, see :func:`depths_of`.
        type_names: Neuron types by their codes in ``neurons["type"]``.
    """
    slots = neurons.slots()
    counts = depth[slots]
    owners = np.repeat(slots, counts)
    lags = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts) + 1
    sizes = np.array([len(neuron_type(name).state) for name in type_names])
    held = sizes[neurons["type"][slots]]
    holders = np.repeat(slots, held)
    variables = np.arange(len(holders)) - np.repeat(np.cumsum(held) - held, held)
    uid = neurons["uid"]
    kind = np.repeat(np.array([HISTORY, VARIABLE], np.int8), [len(owners), len(holders)])
    return StateLayout(
        uid=uid[np.concatenate([owners, holders])],
        kind=kind,
        index=np.concatenate([lags, variables]).astype(np.int32),
    )
