"""The actions of every unfinished episode, so that it can be repeated on resume."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LONGEST = 1_000_000


class EpisodeLog:
    """Environment actions since the start of each environment's running episode, kept in window-sized pieces.

    An episode longer than ``LONGEST`` steps is no longer recorded: repeating it would take too long and its log
    would grow for ever.
    """

    def __init__(self, n_envs: int) -> None:
        self._pieces: list[list[NDArray[Any]] | None] = [[] for _ in range(n_envs)]
        self._lengths = [0] * n_envs

    def clear(self, index: int) -> None:
        """A new episode begins."""
        self._pieces[index], self._lengths[index] = [], 0

    def extend(self, index: int, actions: NDArray[Any]) -> None:
        """Add ``[K, *act]`` actions; they are copied."""
        pieces = self._pieces[index]
        if pieces is None or not len(actions):
            return
        if self._lengths[index] + len(actions) > LONGEST:
            self._pieces[index] = None
            return
        pieces.append(actions.copy())
        self._lengths[index] += len(actions)

    def give_up(self, index: int) -> None:
        """The running episode's actions are unknown."""
        self._pieces[index] = None

    def actions(self, index: int) -> NDArray[Any] | None:
        """``[K, *act]`` actions of the running episode, or None if they were not recorded."""
        pieces = self._pieces[index]
        if pieces is None:
            return None
        return np.concatenate(pieces) if pieces else np.empty(0, np.int64)
