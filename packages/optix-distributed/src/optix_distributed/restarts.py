"""How often an actor may be replaced, and when."""

from __future__ import annotations

import time
from collections import deque

BACK_OFF_S = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds before the first, second, ... replacement within the window of time."""


class Restarts:
    """Counts replacements of one actor within a sliding window of time.

    Args:
        limit: So many within ``window_s``.
        window_s: Seconds.
    """

    def __init__(self, limit: int, window_s: float) -> None:
        self.limit, self.window_s = limit, window_s
        self.total = 0
        self._times: deque[float] = deque()

    def admit(self) -> float | None:
        """Seconds to wait before the next replacement; None if there have been too many."""
        now = time.monotonic()
        while self._times and now - self._times[0] > self.window_s:
            self._times.popleft()
        if len(self._times) >= self.limit:
            return None
        wait = BACK_OFF_S[min(len(self._times), len(BACK_OFF_S) - 1)]
        self._times.append(now)
        self.total += 1
        return wait
