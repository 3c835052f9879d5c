"""What the agents of every framework share: storage, streams, normalisers, action spaces, window maths, shells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports

if TYPE_CHECKING:
    from optix_core.agents.box_actions import BoxActions as BoxActions
    from optix_core.agents.continuous_agent import ContinuousAgent as ContinuousAgent
    from optix_core.agents.decay import Decay as Decay
    from optix_core.agents.discrete_actions import DiscreteActions as DiscreteActions
    from optix_core.agents.draws import Draw as Draw
    from optix_core.agents.epsilon_greedy import EpsilonGreedyAgent as EpsilonGreedyAgent
    from optix_core.agents.function_policy import FunctionPolicy as FunctionPolicy
    from optix_core.agents.mirror import Mirror as Mirror
    from optix_core.agents.model_agent import ModelAgent as ModelAgent
    from optix_core.agents.normalizing import Normalizers as Normalizers
    from optix_core.agents.ppo_agent import ChoosingPPOAgent as ChoosingPPOAgent
    from optix_core.agents.ppo_agent import PPOAgent as PPOAgent
    from optix_core.agents.ppo_update import PPOBatch as PPOBatch
    from optix_core.agents.ppo_update import UpdateReport as UpdateReport
    from optix_core.agents.single import SingleObservation as SingleObservation
    from optix_core.agents.steps import StepLog as StepLog
    from optix_core.agents.store import Store as Store
    from optix_core.agents.stored_agent import StoredAgent as StoredAgent
    from optix_core.agents.streams import Streams as Streams
    from optix_core.agents.trainable import Trainable as Trainable
    from optix_core.agents.value_agent import ValueAgent as ValueAgent

_EXPORTS = {
    "BoxActions": ".box_actions",
    "ChoosingPPOAgent": ".ppo_agent",
    "ContinuousAgent": ".continuous_agent",
    "Decay": ".decay",
    "DiscreteActions": ".discrete_actions",
    "Draw": ".draws",
    "EpsilonGreedyAgent": ".epsilon_greedy",
    "FunctionPolicy": ".function_policy",
    "Mirror": ".mirror",
    "ModelAgent": ".model_agent",
    "Normalizers": ".normalizing",
    "PPOAgent": ".ppo_agent",
    "PPOBatch": ".ppo_update",
    "SingleObservation": ".single",
    "StepLog": ".steps",
    "Store": ".store",
    "StoredAgent": ".stored_agent",
    "Streams": ".streams",
    "Trainable": ".trainable",
    "UpdateReport": ".ppo_update",
    "ValueAgent": ".value_agent",
}

__getattr__, __dir__, __all__ = lazy_exports(__name__, _EXPORTS)
