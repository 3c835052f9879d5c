"""What of a live pipeline's options decides how windows are put together."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from optix_core.base_pipeline import EpisodeBoundaryFn


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveOptions:
    """Options of :class:`~optix_core.pipelines.live.live_pipeline.LivePipeline`; see there."""

    boundary: EpisodeBoundaryFn
    end_on_done: bool
    max_episode_steps: int | None
    stall_timeout: float
    max_stall: float | None
    allow_partial: bool
    on_stall: Callable[[float], None] | None
    bootstrap_on_reconnect: bool
    max_latency: float | None
    max_malformed: int
    max_malformed_share: float
    keep_infos: bool
    clock: Callable[[], float] = time.monotonic
