"""The order in which an update reads its window, drawn on the host and cut into chunks of a fixed number of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.rl.batching import minibatch_indices
from optix_tf.policy_gradient.update import Plan
from optix_tf.training.shapes import rounded_up

_SPARE = 4
_LARGER, _SMALLER = 8, 4


class Planner:
    """Makes plans whose shapes stay the same while hyperparameters change.

    The number of rows of a chunk is that of the first minibatches. It stays while minibatches have from a quarter of
    it to eight times as many rows, larger ones being computed in several chunks; and there is room for four times as
    many chunks as the first update had. Only beyond that does a shape change, and is the update compiled anew.

    Args:
        dtype: Of the parameters.
    """

    def __init__(self, dtype: str) -> None:
        self._dtype = dtype
        self._rows = self._capacity = 0
        self._states: list[dict[str, Any]] = []
        self._per_epoch = 1

    def plan(self, n: int, minibatch_size: int, n_epochs: int, rng: np.random.Generator) -> Plan:
        """``n_epochs`` passes over ``n`` samples in minibatches, each in an order drawn from ``rng``.

        Minibatches are those of :func:`~optix_core.rl.batching.minibatch_indices`.
        """
        largest = min(minibatch_size, n)
        if not self._rows or not self._rows <= _SMALLER * largest or not largest <= _LARGER * self._rows:
            self._rows, self._capacity = rounded_up(largest), 0
        self._states = []
        chunks: list[NDArray[np.int64]] = []
        sizes: list[int] = []
        last: list[bool] = []
        for _ in range(n_epochs):
            for piece in minibatch_indices(n, minibatch_size, rng):
                cut = [piece[start : start + self._rows] for start in range(0, len(piece), self._rows)]
                chunks += cut
                sizes += [len(piece)] * len(cut)
                last += [False] * (len(cut) - 1) + [True]
            self._states.append(dict(rng.bit_generator.state))
        self._per_epoch = len(chunks) // n_epochs
        if len(chunks) > self._capacity:
            self._capacity = 1 << (_SPARE * len(chunks) - 1).bit_length()
        rows = np.full((self._capacity, self._rows), -1, np.int32)
        for row, chunk in zip(rows, chunks, strict=False):
            row[: len(chunk)] = chunk
        ends = np.zeros(self._capacity, np.bool_)
        ends[self._per_epoch - 1 : len(chunks) : self._per_epoch] = True
        return Plan(
            rows=rows,
            size=_filled(sizes, self._capacity, self._dtype),
            step=_filled(last, self._capacity, np.bool_),
            epoch=ends,
            n=np.int32(len(chunks)),
        )

    def rewind(self, n_chunks: int, rng: np.random.Generator) -> None:
        """Put ``rng`` where it would be had only those epochs been drawn that ``n_chunks`` computed chunks began."""
        begun = -(-n_chunks // self._per_epoch)
        if 0 < begun < len(self._states):
            rng.bit_generator.state = self._states[begun - 1]


def _filled(values: list[Any], n: int, dtype: Any) -> NDArray[Any]:
    found = np.zeros(n, dtype)
    found[: len(values)] = values
    return found
