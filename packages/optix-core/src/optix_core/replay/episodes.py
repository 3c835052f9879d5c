"""Where in its episode each row of a ring lies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from optix_core.replay.memory import require_memory
from optix_core.replay.ring import ReplayBuffer

Indices = NDArray[np.int64]


class EpisodeIndex:
    """Steps since the start and to the end of the episode, for every row of ``replay``.

    It follows from the rows alone, so it is no part of any state: it is brought up to date when it is asked for, step
    by step while training goes on and as a whole otherwise.

    Args:
        replay: The ring; rows enter it without asking this index.
    """

    def __init__(self, replay: ReplayBuffer) -> None:
        self._replay = replay
        self._done: int | None = None  # vector steps that are indexed; None: all must be looked at again
        self._since = self._until = np.empty(0, np.int32)

    def forget(self) -> None:
        """The rows were replaced by others."""
        self._done = None

    def bounds(self, indices: Indices) -> tuple[Indices, Indices]:
        """``[B]`` and ``[B]``: stored steps of the same episode before and after rows ``indices``.

        An episode that still goes on ends at its newest row. One whose beginning was overwritten starts at its oldest.
        """
        self._catch_up()
        replay = self._replay
        newer = (replay.total - 1 - indices) % replay.capacity
        after = self._until[indices].astype(np.int64)
        after = np.where(after < 0, newer // replay.n_envs, after)
        stored = (len(replay) - 1 - newer) // replay.n_envs
        return np.minimum(self._since[indices], stored), after

    def _catch_up(self) -> None:
        replay = self._replay
        steps = replay.total // replay.n_envs
        if len(self._since) != replay.capacity:
            require_memory(
                8 * replay.capacity,
                fraction=replay.memory_fraction,
                what=f"the episode index of {replay.capacity:,} rows",
                advice="Use a smaller buffer.",
            )
            self._since, self._until = (np.zeros(replay.capacity, np.int32) for _ in range(2))
        # With so much new, older flags are gone; what they said no longer matters, and all at once is quicker.
        if self._done is None or (steps - self._done + 1) * replay.n_envs > replay.capacity:
            self._rebuild(steps)
        else:
            for step in range(self._done, steps):
                self._append(step)
        self._done = steps

    def _append(self, step: int) -> None:
        """Index one step; closes episodes of the step before, of which only now is known whether they were cut."""
        replay, n = self._replay, self._replay.n_envs
        rows = (step * n + np.arange(n)) % replay.capacity
        if step == 0:
            self._since[rows], self._until[rows] = 0, -1
            return
        before = ((step - 1) * n + np.arange(n)) % replay.capacity
        ended = replay.column("flags")[before] != 0
        since = self._since[before]
        oldest = max(0, replay.total - replay.capacity)
        for i in np.flatnonzero(ended).tolist():
            last = (step - 1) * n + i
            back = np.arange(min(int(since[i]), (last - oldest) // n) + 1)
            self._until[(last - back * n) % replay.capacity] = back
        self._since[rows], self._until[rows] = np.where(ended, 0, since + 1), -1

    def _rebuild(self, steps: int) -> None:
        replay, n = self._replay, self._replay.n_envs
        oldest = replay.total - len(replay)
        numbers = np.arange(oldest // n * n, replay.total).reshape(
            -1, n
        )  # the first step may be there in part
        there, rows = numbers >= oldest, numbers % replay.capacity
        ended = replay.column("flags")[rows] != 0
        time = np.arange(len(numbers))[:, None]
        none = np.int64(len(numbers))
        closes = np.minimum.accumulate(np.where(ended, time, none)[::-1], axis=0)[::-1]
        starts = np.zeros(ended.shape, np.int64)
        starts[1:] = np.maximum.accumulate(np.where(ended[:-1], time[1:], 0), axis=0)
        until = np.where(closes == none, -1, closes - time)
        self._since[rows[there]] = (time - starts)[there]
        self._until[rows[there]] = until[there]
        assert steps == replay.total // n
