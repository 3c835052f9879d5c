"""Pipelines: where windows of experience come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports

if TYPE_CHECKING:
    from optix_core.pipelines.batch import BatchPipeline as BatchPipeline
    from optix_core.pipelines.env_state import CapturableEnv as CapturableEnv
    from optix_core.pipelines.evaluation import EvaluationPipeline as EvaluationPipeline
    from optix_core.pipelines.factories import env_factory_of as env_factory_of
    from optix_core.pipelines.live.env_source import EnvSource as EnvSource
    from optix_core.pipelines.live.live_pipeline import LivePipeline as LivePipeline
    from optix_core.pipelines.vector import VectorBatchPipeline as VectorBatchPipeline

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "BatchPipeline": ".batch",
        "CapturableEnv": ".env_state",
        "EnvSource": ".live.env_source",
        "EvaluationPipeline": ".evaluation",
        "LivePipeline": ".live.live_pipeline",
        "VectorBatchPipeline": ".vector",
        "env_factory_of": ".factories",
    },
)
