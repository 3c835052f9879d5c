"""Drawing in proportion to priorities that keep changing, for many draws at once.

Three levels in which 16 neighbours add up to one node above; the top is a plain array that is searched as a whole
(3,907 nodes at a million leaves). So few and wide levels because numpy pays per operation: a binary tree would need 20
of each. Sums are always made anew from the nodes below, never adjusted by differences, so that they do not drift and
depend on the leaves alone: a tree rebuilt from its leaves has the same bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

FAN = 16
_PREFIX: Floats = np.triu(np.ones((FAN, FAN)))


class SumTree:
    """Non-negative weights of ``capacity`` leaves, all 0 at first.

    Args:
        capacity: Number of leaves, at least 1.
    """

    def __init__(self, capacity: int) -> None:
        top = -(-capacity // FAN**2)
        padded = np.zeros(top * FAN**2)
        self.leaves: Floats = padded[:capacity]
        """``[capacity]`` float64; after writing here, call :meth:`refresh`, :meth:`refresh_span` or :meth:`rebuild`."""
        self._groups: Floats = padded.reshape(-1, FAN)
        self._middle: Floats = np.zeros(len(self._groups))
        self._middle_groups: Floats = self._middle.reshape(-1, FAN)
        self._top: Floats = np.zeros(top)

    @property
    def total(self) -> float:
        """Sum of all leaves."""
        return float(self._top.cumsum()[-1])

    @property
    def nbytes(self) -> int:
        """Bytes of memory held."""
        return self._groups.nbytes + self._middle.nbytes + self._top.nbytes

    def refresh(self, indices: Indices) -> None:
        """Leaves ``indices`` ``[B]`` have changed."""
        above = indices // FAN
        self._middle[above] = self._groups.take(above, axis=0).sum(axis=1)
        above //= FAN
        self._top[above] = self._middle_groups.take(above, axis=0).sum(axis=1)

    def refresh_span(self, low: int, high: int) -> None:
        """Leaves ``low`` to ``high - 1`` (at least one) have changed."""
        low, high = low // FAN, (high - 1) // FAN + 1
        self._middle[low:high] = self._groups[low:high].sum(axis=1)
        low, high = low // FAN, (high - 1) // FAN + 1
        self._top[low:high] = self._middle_groups[low:high].sum(axis=1)

    def rebuild(self) -> None:
        """Any leaf may have changed."""
        self.refresh_span(0, len(self.leaves))

    def find(self, fractions: Floats) -> Indices:
        """The leaf in which each of ``fractions`` ``[B]`` in [0, 1) of the total lies; never one that is 0.

        Raises:
            ValueError: All leaves are 0.
        """
        upper: Floats = self._top.cumsum()
        total = float(upper[-1])
        if not total > 0.0:
            raise ValueError("nothing can be drawn: the priorities add up to 0")
        left: Floats = fractions * total
        node: Indices = np.minimum(np.searchsorted(upper, left, side="right"), len(upper) - 1)
        left = np.subtract(left, upper.take(node) - self._top.take(node))
        first = np.arange(len(node), dtype=np.int64) * FAN
        for groups in (self._middle_groups, self._groups):
            weights: Floats = groups.take(node, axis=0)
            upper = weights @ _PREFIX  # running sums; half the time of cumsum along short rows
            beyond = np.less_equal(upper, left[:, None])
            beyond[:, -1] = False  # rounding may leave a little more than the group holds
            child: Indices = beyond.argmin(axis=1)
            at = first + child
            left = np.subtract(left, upper.take(at) - weights.take(at))
            node = np.add(node * FAN, child)
        empty = np.equal(self._groups.take(node), 0.0)
        if empty.any():  # by rounding, at the edge of a group
            edges = self.leaves.cumsum()
            node[empty] = edges.searchsorted(
                np.minimum(fractions[empty] * edges[-1], np.nextafter(edges[-1], 0.0)), side="right"
            )
        return node
