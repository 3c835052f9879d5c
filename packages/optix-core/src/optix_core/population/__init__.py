"""Population-based training: several agents that train side by side, copy who is ahead, and try other hyperparameters.

Jaderberg et al. 2017, arXiv:1711.09846. Members may train on other machines; see :mod:`optix_core.executor`. For the
population within one run see :class:`~optix_core.tuners.pbt.PBTOptimizer`, for neuron graphs without gradients
``optix_neuroevo``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports

if TYPE_CHECKING:
    from optix_core.population.members import Member as Member
    from optix_core.population.result import PopulationResult as PopulationResult
    from optix_core.population.trainer import PopulationTrainer as PopulationTrainer

_EXPORTS = {
    "Member": ".members",
    "PopulationResult": ".result",
    "PopulationTrainer": ".trainer",
}

__getattr__, __dir__, __all__ = lazy_exports(__name__, _EXPORTS)
