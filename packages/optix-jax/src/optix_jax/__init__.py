"""The JAX agents of optix; importing this package loads no JAX until a name is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports
from optix_jax._version import __version__ as __version__

if TYPE_CHECKING:
    from optix_jax.dqn import FlaxDQNAgent as FlaxDQNAgent
    from optix_jax.flax_agent import FlaxAgent as FlaxAgent
    from optix_jax.flax_evaluator import FlaxEvaluator as FlaxEvaluator
    from optix_jax.gaussian_ppo import FlaxGaussianPPOAgent as FlaxGaussianPPOAgent
    from optix_jax.ppo import FlaxPPOAgent as FlaxPPOAgent
    from optix_jax.sac import FlaxSACAgent as FlaxSACAgent
    from optix_jax.td3 import FlaxTD3Agent as FlaxTD3Agent

_EXPORTS = {
    "FlaxAgent": ".flax_agent",
    "FlaxDQNAgent": ".dqn",
    "FlaxEvaluator": ".flax_evaluator",
    "FlaxGaussianPPOAgent": ".gaussian_ppo",
    "FlaxPPOAgent": ".ppo",
    "FlaxSACAgent": ".sac",
    "FlaxTD3Agent": ".td3",
}

__getattr__, __dir__, __all__ = lazy_exports(__name__, _EXPORTS)
