"""Actors that collect in processes of their own, and a learner that learns while they do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports
from optix_distributed._version import __version__ as __version__

if TYPE_CHECKING:
    from optix_core.rl.vtrace import compute_vtrace_targets as compute_vtrace_targets
    from optix_distributed.async_learner import AsyncActorLearner as AsyncActorLearner
    from optix_distributed.collection import Collection as Collection
    from optix_distributed.errors import ActorDiedError as ActorDiedError
    from optix_distributed.errors import ActorError as ActorError
    from optix_distributed.errors import WorkerLostError as WorkerLostError
    from optix_distributed.on_ray.executor import RayExecutor as RayExecutor
    from optix_distributed.pipeline import DistributedPipeline as DistributedPipeline
    from optix_distributed.settings import CollectionSettings as CollectionSettings

_EXPORTS = {
    "ActorDiedError": ".errors",
    "ActorError": ".errors",
    "AsyncActorLearner": ".async_learner",
    "Collection": ".collection",
    "CollectionSettings": ".settings",
    "DistributedPipeline": ".pipeline",
    "RayExecutor": ".on_ray.executor",
    "WorkerLostError": ".errors",
    "compute_vtrace_targets": "optix_core.rl.vtrace",
}

__getattr__, __dir__, __all__ = lazy_exports(__name__, _EXPORTS)
