"""A window as blocks of equally many steps that a graph can run side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Blocks:
    """S sequences of L steps of a window whose rows are ``t * N + n``.

    Episodes may end inside a sequence; memory is zero again behind such an end.

    Attributes:
        rows: ``[L, S]``; where a sequence is shorter, its last row again.
        there: ``[L, S]`` whether the step exists.
        starts: ``[L, S]`` whether an episode begins with this step inside the sequence. Never in the first row, for
            which the recorded memory says it.
    """

    rows: NDArray[np.int64]
    there: NDArray[np.bool_]
    starts: NDArray[np.bool_]

    @classmethod
    def cut(cls, ends: NDArray[np.bool_], length: int) -> Blocks:
        """Cut every environment's steps into sequences of ``length``.

        Args:
            ends: ``[T, N]``, where an episode ended.
            length: L, at least 1.
        """
        steps, n_envs = ends.shape
        length = min(length, steps)
        pieces = -(-steps // length)
        times = np.arange(pieces * length).reshape(pieces, length).T  # [L, P]
        there = np.repeat(times < steps, n_envs, axis=1)
        times = np.minimum(times, steps - 1)
        rows = (times[:, :, None] * n_envs + np.arange(n_envs)).reshape(length, -1)
        begins = np.zeros((steps, n_envs), np.bool_)
        begins[1:] = ends[:-1]
        starts = begins.reshape(-1)[rows] & there
        starts[0] = False
        return cls(rows, there, starts)

    @property
    def whole(self) -> bool:
        """Whether all steps of all sequences exist."""
        return bool(self.there.all())

    def minibatches(self, size: int, rng: np.random.Generator) -> Iterator[Blocks]:
        """One pass over all sequences in random order, about ``size`` steps at a time, sequences never torn apart."""
        n = self.rows.shape[1]
        pieces = max(1, round(self.there.sum() / size))
        for chosen in np.array_split(rng.permutation(n), min(pieces, n)):
            yield self.take(chosen)

    def take(self, chosen: NDArray[Any]) -> Blocks:
        """Some of the sequences."""
        return Blocks(self.rows[:, chosen], self.there[:, chosen], self.starts[:, chosen])
