"""The autonomous loop: a pure state machine (:mod:`.transition`) and the controller that carries its decisions out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports

if TYPE_CHECKING:
    from optix_core.loop.answers import decide_dormant as decide_dormant
    from optix_core.loop.answers import decide_probe as decide_probe
    from optix_core.loop.answers import restart as restart
    from optix_core.loop.backoff_scheduler import BackoffScheduler as BackoffScheduler
    from optix_core.loop.loop_controller import LoopController as LoopController
    from optix_core.loop.records import Action as Action
    from optix_core.loop.records import Decision as Decision
    from optix_core.loop.records import DormantReport as DormantReport
    from optix_core.loop.records import LoopConfig as LoopConfig
    from optix_core.loop.records import LoopSnapshot as LoopSnapshot
    from optix_core.loop.records import ProbeReport as ProbeReport
    from optix_core.loop.records import Verdict as Verdict
    from optix_core.loop.records import WindowReport as WindowReport
    from optix_core.loop.stop_reason import StopReason as StopReason
    from optix_core.loop.transition import decide as decide

_EXPORTS = {
    "Action": ".records",
    "BackoffScheduler": ".backoff_scheduler",
    "Decision": ".records",
    "DormantReport": ".records",
    "LoopConfig": ".records",
    "LoopController": ".loop_controller",
    "LoopSnapshot": ".records",
    "ProbeReport": ".records",
    "StopReason": ".stop_reason",
    "Verdict": ".records",
    "WindowReport": ".records",
    "decide": ".transition",
    "decide_dormant": ".answers",
    "decide_probe": ".answers",
    "restart": ".answers",
}

__getattr__, __dir__, __all__ = lazy_exports(__name__, _EXPORTS)
