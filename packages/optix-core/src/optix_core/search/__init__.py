"""Search over whole runs: many short trainings with different hyperparameters, and an honest winner.

Needs Optuna (``pip install "optix-core[search]"``), which is imported when a search is made and not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports

if TYPE_CHECKING:
    from optix_core.search.orchestrator import TrialOrchestrator as TrialOrchestrator
    from optix_core.search.report import Candidate as Candidate
    from optix_core.search.report import SearchReport as SearchReport
    from optix_core.search.report import TrialRecord as TrialRecord
    from optix_core.search.space import Dimension as Dimension
    from optix_core.search.space import SearchSpace as SearchSpace
    from optix_core.search.spreading import spread_search as spread_search

_EXPORTS = {
    "Candidate": ".report",
    "Dimension": ".space",
    "SearchReport": ".report",
    "SearchSpace": ".space",
    "TrialOrchestrator": ".orchestrator",
    "TrialRecord": ".report",
    "spread_search": ".spreading",
}

__getattr__, __dir__, __all__ = lazy_exports(__name__, _EXPORTS)
