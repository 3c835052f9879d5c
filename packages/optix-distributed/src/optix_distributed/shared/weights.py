"""Weights with versions that one process writes and many read, without a lock that a killed reader could keep.

A sequence lock (Lameter 2005) over several buffers: version v lies in buffer ``v mod K``, between two words that
both say v when it is complete. A reader copies and then looks whether both words still say what they said; if not,
it reads again. It never waits: after too many tries it goes on with the weights it has.

The order of the stores is that of x86-64. Elsewhere, and wherever it is asked for, a checksum is compared as well.
"""

from __future__ import annotations

import platform
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_distributed.shared.region import LINE, Layout, SharedRegion

ORDERED_STORES = platform.machine().lower() in {"x86_64", "amd64", "i686", "i386"}
"""Whether this processor makes one processor's stores visible to others in their order."""

_BEGIN, _END, _CHECKSUM = 0, 1, 2
NOTHING = -1
"""The version before anything was published."""


class WeightBuffers:
    """K buffers of ``nbytes`` each.

    Args:
        region: The memory.
        offset: Where they begin in it, see :meth:`reserve`.
        nbytes: Bytes of one set of weights.
        buffers: K, at least 2.
        verify: Compare a checksum, too.
    """

    def __init__(
        self,
        region: SharedRegion,
        offset: int,
        nbytes: int,
        buffers: int = 2,
        *,
        verify: bool = not ORDERED_STORES,
    ) -> None:
        stride = LINE + -(-nbytes // LINE) * LINE
        self._latest = region.array(offset, (1,), np.int64)
        self._heads = [region.array(offset + LINE + k * stride, (3,), np.int64) for k in range(buffers)]
        self._data = [
            region.array(offset + 2 * LINE + k * stride, (nbytes,), np.uint8) for k in range(buffers)
        ]
        self._verify = verify
        self.retries = 0

    @staticmethod
    def reserve(layout: Layout, nbytes: int, buffers: int = 2) -> int:
        """Take the place that the buffers need; returns where they begin."""
        stride = LINE + -(-nbytes // LINE) * LINE
        return layout.take((LINE + buffers * stride,), np.uint8)

    def clear(self) -> None:
        """Nothing is published; once, by the writer, before there are readers."""
        self._latest[0] = NOTHING
        for head in self._heads:
            head[:] = NOTHING

    @property
    def latest(self) -> int:
        """The newest complete version."""
        return int(self._latest[0])

    def publish(self, payload: NDArray[np.uint8], version: int) -> None:
        """Make ``payload`` the newest version; versions count up by one."""
        k = version % len(self._heads)
        head = self._heads[k]
        head[_END] = NOTHING
        head[_BEGIN] = version
        self._data[k][:] = payload
        if self._verify:
            head[_CHECKSUM] = zlib.crc32(payload.data)
        head[_END] = version
        self._latest[0] = version

    def fetch(self, out: NDArray[np.uint8], version: int | None = None, *, attempts: int = 100) -> int | None:
        """Copy the newest version, or exactly ``version``, to ``out``.

        Returns:
            The version that ``out`` now holds, whole; None if none could be had, and ``out`` is garbage then.
        """
        for _ in range(attempts):
            wanted = self.latest if version is None else version
            if wanted < 0:
                return None
            k = wanted % len(self._heads)
            head = self._heads[k]
            if self._is(head, wanted):
                out[:] = self._data[k]
                checksum = int(head[_CHECKSUM])
                if self._is(head, wanted) and not (self._verify and zlib.crc32(out.data) != checksum):
                    return wanted
            self.retries += 1
        return None

    @staticmethod
    def _is(head: NDArray[Any], version: int) -> bool:
        return int(head[_END]) == version and int(head[_BEGIN]) == version
