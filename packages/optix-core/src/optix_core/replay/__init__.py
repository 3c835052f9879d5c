"""Experience kept and drawn again: rings of single steps, prioritised and hindsight draws, and when to learn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports

if TYPE_CHECKING:
    from optix_core.replay.batch import Batch as Batch
    from optix_core.replay.buffers import PrioritizedReplayBuffer as PrioritizedReplayBuffer
    from optix_core.replay.cadence import Cadence as Cadence
    from optix_core.replay.goals import goal_functions as goal_functions
    from optix_core.replay.her import HindsightReplay as HindsightReplay
    from optix_core.replay.her_buffers import HERBuffer as HERBuffer
    from optix_core.replay.her_buffers import HERReplayBuffer as HERReplayBuffer
    from optix_core.replay.prioritized import PrioritizedReplay as PrioritizedReplay
    from optix_core.replay.ring import ReplayBuffer as ReplayBuffer
    from optix_core.replay.windows import observe_window as observe_window

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "Batch": ".batch",
        "Cadence": ".cadence",
        "goal_functions": ".goals",
        "HindsightReplay": ".her",
        "HERBuffer": ".her_buffers",
        "HERReplayBuffer": ".her_buffers",
        "PrioritizedReplayBuffer": ".buffers",
        "PrioritizedReplay": ".prioritized",
        "ReplayBuffer": ".ring",
        "observe_window": ".windows",
    },
)
