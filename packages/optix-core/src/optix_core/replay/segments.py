"""Live memory in pieces that checkpoints can share.

A checkpoint of a million rows costs little because most of them did not change since the last one. The memory is
looked at as segments of :data:`SEGMENT_ROWS` rows. A segment that is handed out is a view, sealed: one and the same
object, with its digest, until something is written there. Then those who still hold it get a copy first.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.state import SealedArray

SEGMENT_ROWS = 16_384


class Segments:
    """Copy on write for the rows of one block of memory.

    Args:
        memory: ``[capacity, row_bytes]`` uint8, row-major; whoever writes to it calls :meth:`release` first.
    """

    def __init__(self, memory: NDArray[np.uint8]) -> None:
        self._memory = memory
        self._sealed: list[SealedArray | None] = [None] * -(-len(memory) // SEGMENT_ROWS)

    def __len__(self) -> int:
        return len(self._sealed)

    def span(self, k: int) -> tuple[int, int]:
        """First row of segment ``k``, and the row behind its last."""
        return k * SEGMENT_ROWS, min((k + 1) * SEGMENT_ROWS, len(self._memory))

    def release(self, low: int, high: int) -> None:
        """Rows ``low`` to ``high - 1`` (at least one) are about to change: nobody who holds them shall notice."""
        for k in range(low // SEGMENT_ROWS, (high - 1) // SEGMENT_ROWS + 1):
            if self._sealed[k] is not None:
                self._let_go(k)

    def seal(self, k: int) -> SealedArray:
        """Segment ``k`` as it is now; the same object as last time if nothing was released since."""
        sealed = self._sealed[k]
        if sealed is None:
            low, high = self.span(k)
            sealed = self._sealed[k] = SealedArray(self._memory[low:high])
        return sealed

    def copy(self, low: int, high: int) -> NDArray[np.uint8]:
        """Rows ``low`` to ``high - 1``, a copy."""
        return self._memory[low:high].copy()

    def load(self, k: int, content: Any) -> None:
        """Make segment ``k`` what ``content`` holds; nothing to do if that is what it holds already."""
        if content is self._sealed[k]:
            return
        low, high = self.span(k)
        self.release(low, high)
        self._memory[low:high] = np.asarray(content)
        if isinstance(content, SealedArray) and content.digest_known:
            self._sealed[k] = SealedArray(self._memory[low:high], digest=content.digest)

    def write(self, low: int, rows: NDArray[np.uint8]) -> None:
        """Put ``rows`` at ``low`` and behind."""
        if len(rows):
            self.release(low, low + len(rows))
            self._memory[low : low + len(rows)] = rows

    def _let_go(self, k: int) -> None:
        sealed = self._sealed[k]
        assert sealed is not None
        others = weakref.ref(sealed)
        self._sealed[k] = None
        del sealed  # ours was the last reference, unless somebody keeps a state
        held = others()
        if held is not None:
            held.detach()
