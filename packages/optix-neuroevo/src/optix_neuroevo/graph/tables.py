"""Arrays with stable places: what is removed leaves a free place, and nothing ever moves."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Table:
    """Columns of equal length, of which some rows (*slots*) are alive.

    Args:
        columns: Name to dtype.
        capacity: Rows to begin with; doubled whenever they are used up.

    Attributes:
        columns: Name to array ``[capacity]``; zeros in slots that are not alive.
        alive: bool ``[capacity]``.
        n_alive: How many are.
    """

    def __init__(self, columns: Mapping[str, Any], capacity: int = 16) -> None:
        self.columns: dict[str, Array] = {name: np.zeros(capacity, dtype) for name, dtype in columns.items()}
        self.alive: NDArray[np.bool_] = np.zeros(capacity, np.bool_)
        self.n_alive = 0
        self._free = list(range(capacity))

    def __getitem__(self, name: str) -> Array:
        return self.columns[name]

    @property
    def capacity(self) -> int:
        """Rows that there is room for."""
        return len(self.alive)

    def slots(self) -> NDArray[np.int64]:
        """Living slots, ascending."""
        return np.flatnonzero(self.alive)

    def take(self, **values: Any) -> int:
        """Bring the lowest free slot to life with these values; columns not named are zero."""
        if not self._free:
            self.reserve(max(16, 2 * self.capacity))
        slot = heapq.heappop(self._free)
        self.alive[slot] = True
        self.n_alive += 1
        for name, value in values.items():
            self.columns[name][slot] = value
        return slot

    def free(self, slot: int) -> None:
        """Remove what is in a slot."""
        assert self.alive[slot]
        self.alive[slot] = False
        self.n_alive -= 1
        for column in self.columns.values():
            column[slot] = 0
        heapq.heappush(self._free, slot)

    def reserve(self, capacity: int) -> None:
        """Make room for at least so many rows."""
        more = capacity - self.capacity
        if more > 0:
            for slot in range(self.capacity, capacity):
                heapq.heappush(self._free, slot)
            self.columns = {
                name: np.concatenate([c, np.zeros(more, c.dtype)]) for name, c in self.columns.items()
            }
            self.alive = np.concatenate([self.alive, np.zeros(more, np.bool_)])

    def copy_arrays(self) -> dict[str, Array]:
        """Copies of all columns, and of ``alive``."""
        return {name: column.copy() for name, column in self.columns.items()} | {"alive": self.alive.copy()}

    def set_arrays(self, arrays: Mapping[str, Array]) -> None:
        """Become what :meth:`copy_arrays` copied."""
        self.alive = np.array(arrays["alive"], np.bool_)
        self.columns = {name: np.array(arrays[name], column.dtype) for name, column in self.columns.items()}
        self.n_alive = int(self.alive.sum())
        self._free = np.flatnonzero(~self.alive).tolist()  # ascending, hence a heap
