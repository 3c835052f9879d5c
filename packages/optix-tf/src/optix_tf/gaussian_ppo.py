"""PPO for continuous actions (Schulman et al. 2017, arXiv:1707.06347), on TensorFlow.

The policy is a diagonal Gaussian that is not squashed: the window keeps the very numbers that were drawn, and their
density is known exactly, however far out they are. Only on the way to the environment is [-1, 1] mapped to the bounds
of the Box, and what lies beyond is clipped. Standard deviations are parameters of their own, the same for all
observations, starting at 1 (Andrychowicz et al. 2021, arXiv:2006.05990, section 3.2). All else is as in ``ppo.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gymnasium.spaces import Box

from optix_core import hyperparams as declared
from optix_core.agents.box_actions import BoxActions
from optix_core.agents.hypers.ppo import GAUSSIAN_NORMALIZES, HYPERS
from optix_core.agents.ppo_agent import PPOAgent
from optix_core.errors import SpaceError
from optix_core.plugin import AgentContext
from optix_core.types import HyperparamSet
from optix_tf.describing import describe
from optix_tf.policy_gradient.actor_critic import ActorCritic
from optix_tf.policy_gradient.standard import ppo_parts
from optix_tf.training.optimizer_state import learning_rate_of

if TYPE_CHECKING:
    from optix_core.agents.describing import Described
    from optix_core.export import GraphBuilder
    from optix_core.normalizers import ObsNormalizer, RewardNormalizer


NAME = "TFGaussianPPOAgent"


class TFGaussianPPOAgent(PPOAgent[ActorCritic]):
    """Proximal policy optimisation with a diagonal Gaussian policy.

    What is not said here is as for :class:`~optix_tf.TFPPOAgent`.

    Args:
        actor: A built Keras model, ``[B, *obs]`` to means followed by log standard deviations, ``[B, 2 A]``; the latter
            are clamped to [-5, 2]. :class:`~optix_tf.GaussianActor` makes one of a network for the means.
        critic: ``[B, *obs]`` to ``[B]`` or ``[B, 1]``.
        optimizer: :class:`~optix_tf.Adam`, or any of ``keras.optimizers`` that is new.
        action_dim: A.
        hyperparams: Values that differ from the defaults; see ``optix_core.agents.hypers.ppo``. Copied.
        reward_normalizer: Scales rewards before they become targets. Its gamma follows the agent's.
        observation_normalizer: Applied to observations before acting and learning; updated after each window.
        action_space: The environment's Box, which [-1, 1] is mapped to; None leaves actions in [-1, 1].
        observation_space: The environment's; needed only so that ``act`` can read observations with parts.
        device: ``"auto"`` (a GPU if TensorFlow sees one), ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        compiler: ``"xla"``, ``"graph"``, or ``"auto"``: XLA for networks of layers that it is known to compile.
        seed: Root seed of acting and minibatch order; None draws one from the operating system.
    """

    hypers = HYPERS

    def __init__(
        self,
        actor: Any,
        critic: Any,
        optimizer: Any,
        action_dim: int,
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
        space: Any = Box(-1.0, 1.0, (action_dim,)) if action_space is None else action_space
        actions = BoxActions(space)
        if actions.n_actions != action_dim:
            raise SpaceError(f"action_dim is {action_dim}, but actions of the Box have shape {space.shape}")
        networks = ActorCritic(
            actor, critic, optimizer, head="gaussian", n_actions=action_dim, device=device, compiler=compiler
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
        return self._actions.describe(b, describe(b, self._networks.actor, x), mask)


def build(ctx: AgentContext, **options: Any) -> TFGaussianPPOAgent:
    """The standard agent for an environment; options are those of ``policy_gradient.standard.ppo_parts``."""
    parts = ppo_parts(ctx, "GaussianPPO", {"box"}, **{**GAUSSIAN_NORMALIZES, **options})
    return TFGaussianPPOAgent(action_dim=math.prod(ctx.action_space.shape), **parts)
