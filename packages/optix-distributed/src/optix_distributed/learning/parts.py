"""What the learner trains, whether it is given an agent or an actor, a critic and an optimizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from optix_core.acting import NumpyActing, NumpyPolicy
from optix_core.agents.box_actions import actions_of
from optix_core.agents.decay import Decay
from optix_core.agents.normalizing import Normalizers
from optix_core.errors import ConfigError
from optix_torch.policy_gradient.actor_critic import ActorCritic
from optix_torch.policy_gradient.recurrent_actor_critic import RecurrentActorCritic

Networks = ActorCritic | RecurrentActorCritic


@dataclass(frozen=True, slots=True)
class Falling:
    """What falls while training goes on.

    Attributes:
        decay: Counts the steps.
        hyperparams: From where, and over how many steps.
    """

    decay: Decay
    hyperparams: Mapping[str, Any]

    def applied(self, n_steps: int, training: Any) -> AbstractContextManager[Any]:
        """Count ``n_steps`` and put what is due into the optimizer for the time of one update."""
        return self.decay.applied(self.hyperparams, n_steps, training)


def parts_of_agent(agent: Any) -> tuple[Networks, Normalizers, NumpyActing, Falling]:
    """Networks, normalisers, policy and what falls of an agent of optix-torch, its hyperparameters included.

    Raises:
        ConfigError: It has no actor and critic that can be trained so.
    """
    from optix_core.acting.remote import acting_of

    networks, normalizers = getattr(agent, "_networks", None), getattr(agent, "_normalizers", None)
    if not isinstance(networks, ActorCritic | RecurrentActorCritic) or not isinstance(
        normalizers, Normalizers
    ):
        raise ConfigError(
            f"{type(agent).__name__} has no actor and critic of PyTorch, which is what AsyncActorLearner trains. PPO "
            "and Gaussian PPO of every framework learn from actors with "
            'Optimizer(agent, env, runner="async"); or give a PPO, Gaussian PPO or recurrent PPO agent of optix-torch, '
            "or actor, critic and optimizer"
        )
    return networks, normalizers, acting_of(agent), Falling(agent._decay, agent.get_hyperparams().params)


def parts_of_modules(
    actor: nn.Module,
    critic: nn.Module,
    optimizer: torch.optim.Optimizer,
    env_factory: Callable[[], Any],
    device: str | torch.device,
) -> tuple[ActorCritic, Normalizers, NumpyActing]:
    """Networks, no normalisers, and the policy, from modules and an optimizer of PyTorch.

    Raises:
        ConfigError: The actor cannot be computed in numpy, or does not fit the environment.
    """
    env = env_factory()
    try:
        actions = actions_of(env.action_space, "AsyncActorLearner")
    finally:
        env.close()
    networks = ActorCritic(
        actor, critic, optimizer, head=actions.head, n_actions=actions.n_actions, nvec=actions.nvec, device=device,
        engine="auto",
    )  # fmt: skip
    if not isinstance(networks.policy, NumpyPolicy):
        raise ConfigError(
            "the actor is no plain stack of Linear layers and activations (tanh, relu, elu, sigmoid), so actors cannot "
            "compute it in numpy; train it with Optimizer(agent, env, n_envs=...) instead"
        )
    masks = actions.head.endswith("categorical")
    return networks, Normalizers(None, None), NumpyActing(networks.policy, accepts_masks=masks)
