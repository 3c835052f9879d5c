"""Twin delayed deep deterministic policy gradient, TD3 (Fujimoto et al. 2018, arXiv:1802.09477).

What decides success:

1. Noise in acting, normal and in units of [-1, 1]; greedy actions have none.
2. Targets take the smaller of two slow critics (eq. 10) for the slow actor's action plus clipped noise, which is
   clipped to [-1, 1] again after it was added (eq. 14).
3. The actor, and everything that is slow, moves only every ``policy_delay`` gradient steps (section 5.2).
4. The actor climbs the first critic alone.
5. Only terminal states have no value. A time limit is bootstrapped from the observation that truly followed.
6. Everything that has a cadence counts environment steps; the first actions are uniform in the Box.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from optix_core import hyperparams as declared
from optix_core.agents.hypers.td3 import HYPERS
from optix_core.agents.steps import StepCount
from optix_core.plugin import AgentContext
from optix_core.types import HyperparamSet
from optix_torch.continuous.standard import td3_parts
from optix_torch.continuous.torch_continuous_agent import TorchContinuousAgent
from optix_torch.continuous.twin import Actor, TwinCritics

if TYPE_CHECKING:
    from optix_core.normalizers import ObsNormalizer

NAME = "TorchTD3Agent"


class TorchTD3Agent(TorchContinuousAgent):
    """A deterministic policy with two critics and delayed policy updates.

    What is not said here is as for :class:`~optix_torch.TorchSACAgent`.

    Args:
        actor: ``[B, *obs]`` to actions ``[B, A]`` in [-1, 1]: its last layer is a tanh. What lies beyond is clipped in
            acting and in targets.
        critic1: Observations and actions (in [-1, 1]), as one row ``[B, obs + A]`` or, if its ``forward`` has two
            parameters, apart, to ``[B, 1]``. The actor climbs this one.
        critic2: Another one.
        action_dim: A.
        actor_optimizer: Over the actor's parameters.
        critic_optimizer: Over those of both critics.
        hyperparams: Values that differ from the defaults; see ``optix_core.agents.hypers.td3``. Copied.
            ``learning_rate`` is the actor's; a rate that differs from it in the other optimizer keeps its ratio to it.
        device: ``"auto"`` (CUDA if there is one), ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        action_space: The environment's Box, which [-1, 1] is mapped to; None leaves actions in [-1, 1].
        observation_space: Needed only by :meth:`act` for observations with parts.
        observation_normalizer: Applied to observations before acting and learning; updated after each window.
        replay: Used instead of a new buffer, for example a ``HindsightReplay``.
        engine: ``"auto"``, ``"closed_form"`` or ``"autograd"``; equal results.
        threads: Of PyTorch while learning; ``"auto"``: one for small networks.
        seed: Root seed of acting, replay and noise; None draws one from the operating system.

    Raises:
        ConfigError: Networks, optimizers, device, engine or replay memory cannot be used together.
        SpaceError: The Box is not bounded, or does not fit ``action_dim``.
        HyperparamError: A name is unknown or a value out of range.
    """

    hypers = HYPERS

    def __init__(
        self,
        actor: nn.Module,
        critic1: nn.Module,
        critic2: nn.Module,
        action_dim: int,
        actor_optimizer: torch.optim.Optimizer,
        critic_optimizer: torch.optim.Optimizer,
        hyperparams: HyperparamSet | Mapping[str, Any] | None = None,
        device: str | torch.device = "auto",
        *,
        action_space: Any = None,
        observation_space: Any = None,
        observation_normalizer: ObsNormalizer | None = None,
        replay: Any = None,
        engine: str = "auto",
        threads: Any = "auto",
        seed: int | None = None,
    ) -> None:
        given = {"learning_rate": float(actor_optimizer.param_groups[0]["lr"])}
        hp = declared.merge(HYPERS, given, hyperparams, owner=NAME)
        how: dict[str, Any] = {"device": device, "engine": engine}
        policy = Actor(actor, actor_optimizer, observation_normalizer, **how, with_target=True)
        critics = TwinCritics(critic1, critic2, critic_optimizer, **how)
        assert policy.target_network is not None
        self._target_actor, self._steps = policy.target_network, StepCount()
        self._start(
            policy,
            critics,
            hp,
            action_dim=action_dim,
            outputs_per_action=1,
            action_space=action_space,
            observation_space=observation_space,
            observation_normalizer=observation_normalizer,
            replay=replay,
            threads=threads,
            seed=seed,
            parts={"target_actor": self._target_actor, "steps": self._steps},
        )

    def _policy_actions(
        self, observations: NDArray[Any], rng: np.random.Generator | None
    ) -> NDArray[np.float32]:
        actions = self._actor_outputs(observations).astype(np.float32)
        if rng is not None:
            actions += self._hp["exploration_noise"] * rng.standard_normal(actions.shape, np.float32)
        return actions.clip(-1.0, 1.0)

    def _gradient_step(self) -> None:
        hp, actor, critics = self._hp, self._actor, self._critics
        batch, noise = self._draw(), self._noise(1)[0]
        # Targets: similar actions shall have similar values.
        smoothing = (hp["target_noise"] * noise).clip(-hp["target_noise_clip"], hp["target_noise_clip"])
        next_actions = (actor.target_outputs(batch.following) + smoothing).clip(-1.0, 1.0)
        next_values = critics.target_values(batch.following, next_actions).min(axis=0)
        targets = batch.rewards + batch.discounts * next_values
        if not self._critic_step(batch, targets):
            return
        # Actor and all targets, delayed: minimises -mean(Q1).
        self._steps.count += 1
        if self._steps.count % hp["policy_delay"]:
            return
        values, slopes = critics.first(batch.observations, actor.outputs(batch.observations))
        actor.backward(slopes * (-1.0 / len(values)))
        self._actor_descent.step(hp["max_grad_norm"] or math.inf, actor_loss=-float(values.mean()))
        critics.target.polyak(hp["tau"])
        self._target_actor.polyak(hp["tau"])


def build(ctx: AgentContext, **options: Any) -> TorchTD3Agent:
    """The standard agent for an environment; options are those of :func:`optix_torch.continuous.standard.td3_parts`."""
    return TorchTD3Agent(**td3_parts(ctx, "TD3", **options))
