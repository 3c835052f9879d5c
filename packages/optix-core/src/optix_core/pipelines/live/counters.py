"""What became of every item that a live source produced."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveCounters:
    """Counts since the pipeline was set up, or since the beginning of the run that it continues.

    ``produced = consumed + dropped + rejected + buffered`` holds at any moment, also while threads are at work.

    Attributes:
        produced: Items that the source yielded.
        consumed: Items that became observations of windows, or began an episode.
        dropped: Items that the overflow policy (or the end) threw away.
        rejected: ``malformed + duplicates + late``.
        buffered: Items that wait: in the queue, for missing predecessors, or for room in the queue.
        malformed: Items of a wrong structure, shape or type, or with values that are not finite.
        duplicates: Items whose ``seq`` had come before.
        late: Items that came after their place had been given up.
        missing: Numbers of ``seq`` that never came, or came too late; those items were never produced here.
        reconnects: Times that the stream was opened again.
        source_errors: Exceptions of the source.
        gaps: Episodes that were cut because something between two items is unknown.
        stalls: Times that nothing came for ``stall_timeout``.
        sent: Actions handed to the source.
        send_errors: Actions that the source's ``send`` refused with an exception.
        stale: Actions that were decided later than ``max_latency`` after their observation came.
        mismatched: Items that answer another action than the last one.
    """

    produced: int = 0
    consumed: int = 0
    dropped: int = 0
    rejected: int = 0
    buffered: int = 0
    malformed: int = 0
    duplicates: int = 0
    late: int = 0
    missing: int = 0
    reconnects: int = 0
    source_errors: int = 0
    gaps: int = 0
    stalls: int = 0
    sent: int = 0
    send_errors: int = 0
    stale: int = 0
    mismatched: int = 0

    @property
    def balanced(self) -> bool:
        """Whether the identity holds."""
        return self.produced == self.consumed + self.dropped + self.rejected + self.buffered

    def to_dict(self) -> dict[str, Any]:
        """By name."""
        return asdict(self)
