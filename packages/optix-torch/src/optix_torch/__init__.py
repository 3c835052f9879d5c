"""The PyTorch agents of optix; importing this package loads no PyTorch until a name is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports
from optix_torch._version import __version__ as __version__

if TYPE_CHECKING:
    from optix_torch.dqn import TorchDQNAgent as TorchDQNAgent
    from optix_torch.gaussian_ppo import TorchGaussianPPOAgent as TorchGaussianPPOAgent
    from optix_torch.networks.mlp import GaussianActor as GaussianActor
    from optix_torch.networks.noisy import NoisyLinear as NoisyLinear
    from optix_torch.networks.noisy import RainbowQNetwork as RainbowQNetwork
    from optix_torch.ppo import TorchPPOAgent as TorchPPOAgent
    from optix_torch.rainbow import TorchRainbowDQNAgent as TorchRainbowDQNAgent
    from optix_torch.recurrent_ppo import TorchRecurrentPPOAgent as TorchRecurrentPPOAgent
    from optix_torch.sac import TorchSACAgent as TorchSACAgent
    from optix_torch.td3 import TorchTD3Agent as TorchTD3Agent
    from optix_torch.torch_agent import TorchAgent as TorchAgent
    from optix_torch.torch_evaluator import TorchEvaluator as TorchEvaluator

_EXPORTS = {
    "GaussianActor": ".networks.mlp",
    "NoisyLinear": ".networks.noisy",
    "RainbowQNetwork": ".networks.noisy",
    "TorchAgent": ".torch_agent",
    "TorchDQNAgent": ".dqn",
    "TorchEvaluator": ".torch_evaluator",
    "TorchGaussianPPOAgent": ".gaussian_ppo",
    "TorchPPOAgent": ".ppo",
    "TorchRainbowDQNAgent": ".rainbow",
    "TorchRecurrentPPOAgent": ".recurrent_ppo",
    "TorchSACAgent": ".sac",
    "TorchTD3Agent": ".td3",
}

__getattr__, __dir__, __all__ = lazy_exports(__name__, _EXPORTS)
