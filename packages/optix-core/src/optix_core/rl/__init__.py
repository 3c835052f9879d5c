"""Framework-free arithmetic of reinforcement learning: returns, minibatches, spaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports

if TYPE_CHECKING:
    from optix_core.rl.batching import make_minibatches as make_minibatches
    from optix_core.rl.batching import minibatch_indices as minibatch_indices
    from optix_core.rl.batching import standardize as standardize
    from optix_core.rl.masking import split_masks as split_masks
    from optix_core.rl.masking import with_masks as with_masks
    from optix_core.rl.projections import categorical_support as categorical_support
    from optix_core.rl.projections import project_categorical as project_categorical
    from optix_core.rl.returns import compute_gae as compute_gae
    from optix_core.rl.returns import discounted_returns as discounted_returns
    from optix_core.rl.returns import explained_variance as explained_variance
    from optix_core.rl.returns import generalized_advantage_estimation as generalized_advantage_estimation
    from optix_core.rl.spaces import BoxScaler as BoxScaler
    from optix_core.rl.spaces import SpaceInfo as SpaceInfo
    from optix_core.rl.spaces import describe_space as describe_space
    from optix_core.rl.spaces import flat_dim as flat_dim
    from optix_core.rl.spaces import require_kind as require_kind
    from optix_core.rl.spaces import space_label as space_label
    from optix_core.rl.structured import element_dtype as element_dtype
    from optix_core.rl.structured import pack as pack
    from optix_core.rl.structured import unpack as unpack
    from optix_core.rl.vtrace import VTrace as VTrace
    from optix_core.rl.vtrace import compute_vtrace_targets as compute_vtrace_targets

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "make_minibatches": ".batching",
        "minibatch_indices": ".batching",
        "standardize": ".batching",
        "split_masks": ".masking",
        "with_masks": ".masking",
        "categorical_support": ".projections",
        "project_categorical": ".projections",
        "compute_gae": ".returns",
        "discounted_returns": ".returns",
        "explained_variance": ".returns",
        "generalized_advantage_estimation": ".returns",
        "BoxScaler": ".spaces",
        "SpaceInfo": ".spaces",
        "describe_space": ".spaces",
        "flat_dim": ".spaces",
        "require_kind": ".spaces",
        "space_label": ".spaces",
        "element_dtype": ".structured",
        "pack": ".structured",
        "unpack": ".structured",
        "VTrace": ".vtrace",
        "compute_vtrace_targets": ".vtrace",
    },
)
