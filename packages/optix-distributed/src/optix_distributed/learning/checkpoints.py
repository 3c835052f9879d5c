"""Checkpoints of a learner, every so many seconds; one that cannot be written is tried again and stops nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from optix_core.checkpoints import CheckpointStore
from optix_core.errors import CheckpointNotSaved
from optix_core.state import State

logger = logging.getLogger("optix.distributed")

REPEAT_S = 5.0
"""How long after a failed checkpoint to try again; doubled each time, up to the usual time between two."""
KEPT = 3


class PeriodicCheckpoints:
    """What a learner keeps of itself, and when.

    Args:
        folder: Where.
        every_s: Seconds between two.
        strict: Raise if one cannot be written; otherwise it is told and tried again.
        tell: Called with an event when one could not be written.

    Attributes:
        store: What holds them.
    """

    def __init__(
        self, folder: str | Path, every_s: float, *, strict: bool, tell: Callable[[dict[str, Any]], None]
    ) -> None:
        self.store = CheckpointStore(folder, keep=KEPT)
        self._every, self._strict, self._tell = every_s, strict, tell
        self._due, self._retry_s = 0.0, REPEAT_S

    def held(self) -> AbstractContextManager[Any]:
        """Nobody else may write here meanwhile; the time to the next checkpoint begins."""
        self._due, self._retry_s = time.monotonic() + self._every, REPEAT_S
        return self.store.lock()

    def save_if_due(self, state: Callable[[], State], steps: int) -> None:
        """Write one if it is time.

        Raises:
            CheckpointNotSaved: It could not be written, and ``strict`` is set.
        """
        if time.monotonic() < self._due:
            return
        if self.save(state(), steps, "periodic"):
            self._retry_s, wait = REPEAT_S, self._every
        else:
            wait = min(self._retry_s, self._every)
            self._retry_s *= 2
        self._due = time.monotonic() + wait

    def save(self, state: State, steps: int, reason: str) -> bool:
        """Write one now; whether it was written.

        Raises:
            CheckpointNotSaved: It was not, and ``strict`` is set.
        """
        try:
            self.store.save({"agent": state}, step=steps, kind="boundary", reason=reason)
        except CheckpointNotSaved as error:
            if self._strict:
                raise
            logger.warning("no checkpoint after %d steps: %s", steps, error)
            self._tell({"event": "checkpoint_failed", "error": str(error), "total_steps": steps})
            return False
        return True

    def newest(self) -> State | None:
        """The state that was written last; None if there is none."""
        found = self.store.latest()
        return None if found is None else self.store.load(found.name).components["agent"]
