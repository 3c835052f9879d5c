"""Windows from a source that goes on by itself: a market, a sensor, a robot, a service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports

if TYPE_CHECKING:
    from optix_core.pipelines.live.counters import LiveCounters as LiveCounters
    from optix_core.pipelines.live.env_source import EnvSource as EnvSource
    from optix_core.pipelines.live.live_pipeline import LivePipeline as LivePipeline
    from optix_core.pipelines.live.source import LiveSource as LiveSource

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "EnvSource": ".env_source",
        "LiveCounters": ".counters",
        "LivePipeline": ".live_pipeline",
        "LiveSource": ".source",
    },
)
