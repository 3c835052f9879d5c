"""The compiled plan of a graph, and what executes it: numpy step by step, and whole sequences for learning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports

if TYPE_CHECKING:
    from optix_neuroevo.plan.absent import absent_gradients as absent_gradients
    from optix_neuroevo.plan.compile import Plan as Plan
    from optix_neuroevo.plan.compile import compile_plan as compile_plan
    from optix_neuroevo.plan.module import GraphModule as GraphModule
    from optix_neuroevo.plan.probe import Probe as Probe
    from optix_neuroevo.plan.probe import record_activity as record_activity

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "absent_gradients": ".absent",
        "Plan": ".compile",
        "compile_plan": ".compile",
        "GraphModule": ".module",
        "Probe": ".probe",
        "record_activity": ".probe",
    },
)
