"""The TensorFlow agents of optix; importing this package loads no TensorFlow until a name is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports
from optix_tf._version import __version__ as __version__

if TYPE_CHECKING:
    from optix_tf.dqn import TFDQNAgent as TFDQNAgent
    from optix_tf.gaussian_ppo import TFGaussianPPOAgent as TFGaussianPPOAgent
    from optix_tf.networks.dueling import Dueling as Dueling
    from optix_tf.networks.mlp import GaussianActor as GaussianActor
    from optix_tf.ppo import TFPPOAgent as TFPPOAgent
    from optix_tf.sac import TFSACAgent as TFSACAgent
    from optix_tf.td3 import TFTD3Agent as TFTD3Agent
    from optix_tf.td3 import TFTDDAgent as TFTDDAgent
    from optix_tf.tf_agent import TFAgent as TFAgent
    from optix_tf.tf_evaluator import TFEvaluator as TFEvaluator
    from optix_tf.training.adam import Adam as Adam

_EXPORTS = {
    "Dueling": ".networks.dueling",
    "TFTD3Agent": ".td3",
    "TFTDDAgent": ".td3",
    "TFSACAgent": ".sac",
    "TFDQNAgent": ".dqn",
    "Adam": ".training.adam",
    "GaussianActor": ".networks.mlp",
    "TFAgent": ".tf_agent",
    "TFEvaluator": ".tf_evaluator",
    "TFGaussianPPOAgent": ".gaussian_ppo",
    "TFPPOAgent": ".ppo",
}

__getattr__, __dir__, __all__ = lazy_exports(__name__, _EXPORTS)
