"""PPO for actions that are choices (Schulman et al. 2017, arXiv:1707.06347), on TensorFlow.

What decides success, beyond the paper (Andrychowicz et al. 2021, arXiv:2006.05990, and Huang et al. 2022, "The 37
implementation details of PPO", have measured most of it): orthogonal initialisation with a small policy head, Adam with
epsilon 1e-5 as the paper has it, separate networks, minibatches that cover the window, advantages standardised over the
whole window, one clip of the global gradient norm. Time limits are bootstrapped and cut no value. Old
log-probabilities and values are recomputed from the window, since the policy has not moved since it acted.

All epochs and minibatches of a window are one compiled function (``policy_gradient/update.py``); acting is numpy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from optix_core import hyperparams as declared
from optix_core.agents.discrete_actions import KINDS, DiscreteActions
from optix_core.agents.hypers.ppo import HYPERS
from optix_core.agents.ppo_agent import ChoosingPPOAgent
from optix_core.plugin import AgentContext
from optix_core.types import HyperparamSet
from optix_tf.describing import describe, last_width
from optix_tf.policy_gradient.actor_critic import ActorCritic
from optix_tf.policy_gradient.standard import ppo_parts
from optix_tf.training.optimizer_state import learning_rate_of

if TYPE_CHECKING:
    from optix_core.agents.describing import Described
    from optix_core.export import GraphBuilder
    from optix_core.normalizers import ObsNormalizer, RewardNormalizer


NAME = "TFPPOAgent"


class TFPPOAgent(ChoosingPPOAgent[ActorCritic]):
    """Proximal policy optimisation for Discrete, MultiDiscrete and MultiBinary actions.

    Plain perceptrons act through numpy on a copy of the weights that every update refreshes; any other model acts
    through one compiled function. The models' own variables are brought up to date at the end of every ``learn``.

    Args:
        actor: A built Keras model, ``[B, *obs]`` to logits: ``[B, A]`` (Discrete), ``[B, sum(nvec)]`` (MultiDiscrete)
            or one for each bit (MultiBinary). Models get tensors of their variables' type, a dict of them where
            observations have parts, and are called with ``training=False``.
        critic: ``[B, *obs]`` to ``[B]`` or ``[B, 1]``.
        optimizer: :class:`~optix_tf.Adam`, or any of ``keras.optimizers`` that is new.
        hyperparams: Values that differ from the defaults; see ``optix_core.agents.hypers.ppo``. Copied.
        reward_normalizer: Scales rewards before they become targets. Its gamma follows the agent's.
        observation_normalizer: Applied to observations before acting and learning; updated after each window.
        action_space: The environment's; None is Discrete, of as many actions as the actor has outputs.
        observation_space: The environment's; needed only so that ``act`` can read observations with parts.
        device: ``"auto"`` (a GPU if TensorFlow sees one), ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        compiler: ``"xla"``, ``"graph"``, or ``"auto"``: XLA for networks of layers that it is known to compile.
        seed: Root seed of acting and minibatch order; None draws one from the operating system.

    Raises:
        ConfigError: The networks, the optimizer, the device or the compiler cannot be used together.
        HyperparamError: A name is unknown or a value out of range.
    """

    hypers = HYPERS

    def __init__(
        self,
        actor: Any,
        critic: Any,
        optimizer: Any,
        hyperparams: HyperparamSet | Mapping[str, Any] | None = None,
        reward_normalizer: RewardNormalizer | None = None,
        *,
        observation_normalizer: ObsNormalizer | None = None,
        action_space: Any = None,
        observation_space: Any = None,
        device: str = "auto",
        compiler: str = "auto",
        seed: int | None = None,
    ) -> None:
        hp = declared.merge(HYPERS, learning_rate_of(optimizer), hyperparams, owner=NAME)
        actions = DiscreteActions(action_space, NAME)
        networks = ActorCritic(
            actor,
            critic,
            optimizer,
            head=actions.head,
            n_actions=actions.n_actions,
            nvec=actions.nvec,
            device=device,
            compiler=compiler,
        )
        self._start(
            networks,
            actions,
            hp,
            observation_space=observation_space,
            observation_normalizer=observation_normalizer,
            reward_normalizer=reward_normalizer,
            seed=seed,
        )

    def _describe_policy(self, b: GraphBuilder, x: Any, mask: str | None) -> Described:
        actor = self._networks.actor
        return self._actions.describe(b, describe(b, actor, x), mask, last_width(actor))


def build(ctx: AgentContext, **options: Any) -> TFPPOAgent:
    """The standard agent for an environment; options are those of ``policy_gradient.standard.ppo_parts``."""
    return TFPPOAgent(**ppo_parts(ctx, "PPO", KINDS, **options))
