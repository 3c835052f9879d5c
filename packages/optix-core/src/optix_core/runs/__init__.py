"""Runs on disk: one directory each, with what it was started with, every decision and its checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports

if TYPE_CHECKING:
    from optix_core.runs.decision_log import DecisionLog as DecisionLog
    from optix_core.runs.decision_log import LogEvent as LogEvent
    from optix_core.runs.redaction import redact as redact
    from optix_core.runs.run_directory import RunDirectory as RunDirectory
    from optix_core.runs.run_directory import RunInfo as RunInfo

_EXPORTS = {
    "DecisionLog": ".decision_log",
    "LogEvent": ".decision_log",
    "RunDirectory": ".run_directory",
    "RunInfo": ".run_directory",
    "redact": ".redaction",
}

__getattr__, __dir__, __all__ = lazy_exports(__name__, _EXPORTS)
