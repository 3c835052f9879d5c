"""What one environment's memory of a graph consists of, and how it survives a change of the graph.

The memory is a row of numbers. Each belongs to a neuron: a past activation, ``lag`` steps ago, which the neuron keeps
because it has an outgoing edge of at least that delay; or a state variable of the neuron's type.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
