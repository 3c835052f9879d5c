"""Acting without a framework: small networks on a flat parameter buffer, evaluated by numpy.

On a CPU one framework forward for one observation costs far more than the arithmetic in it. A backend that keeps its
weights in the buffer described here acts through numpy with the weights it trains, and an exported policy needs no
framework at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports

if TYPE_CHECKING:
    from optix_core.acting.distributions import Distribution as Distribution
    from optix_core.acting.distributions import distribution as distribution
    from optix_core.acting.heads import LOG_STD_BOUNDS as LOG_STD_BOUNDS
    from optix_core.acting.mlp import MLP as MLP
    from optix_core.acting.mlp import MLPSpec as MLPSpec
    from optix_core.acting.parameters import ParameterLayout as ParameterLayout
    from optix_core.acting.policy import NumpyPolicy as NumpyPolicy
    from optix_core.acting.policy import PolicySpec as PolicySpec
    from optix_core.acting.recurrent import RecurrentCell as RecurrentCell
    from optix_core.acting.recurrent import RecurrentSpec as RecurrentSpec
    from optix_core.acting.remote import ActingSpec as ActingSpec
    from optix_core.acting.remote import NumpyActing as NumpyActing
    from optix_core.acting.remote import RemotePolicy as RemotePolicy

_EXPORTS = {
    "Distribution": ".distributions",
    "LOG_STD_BOUNDS": ".heads",
    "ActingSpec": ".remote",
    "MLP": ".mlp",
    "MLPSpec": ".mlp",
    "NumpyActing": ".remote",
    "NumpyPolicy": ".policy",
    "ParameterLayout": ".parameters",
    "PolicySpec": ".policy",
    "RecurrentCell": ".recurrent",
    "RecurrentSpec": ".recurrent",
    "RemotePolicy": ".remote",
    "distribution": ".distributions",
}

__getattr__, __dir__, __all__ = lazy_exports(__name__, _EXPORTS)
