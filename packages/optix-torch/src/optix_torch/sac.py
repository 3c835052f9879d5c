"""Soft actor-critic (Haarnoja et al. 2018, arXiv:1812.05905).

What decides success:

1. The policy is a Gaussian with a deviation of its own for every observation, squashed by tanh; its density is exact
   (``squashed.py``).
2. Targets take the smaller of two slow critics (Fujimoto et al. 2018, arXiv:1802.09477) for an action that the present
   policy draws, minus the temperature times its log-density.
3. The temperature follows the entropy, through its logarithm; target: -1 per action dimension.
4. Only terminal states have no value. A time limit is bootstrapped from the observation that truly followed.
5. The critics learn before the actor; slow critics go along at every gradient step.
6. Everything that has a cadence counts environment steps, so more environments do not mean less learning.
7. The first actions are uniform in the Box; greedy actions are tanh of the mean.
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
from optix_core.agents.hypers.sac import HYPERS
from optix_core.plugin import AgentContext
from optix_core.types import HyperparamSet
from optix_torch.continuous import squashed
from optix_torch.continuous.standard import sac_parts
from optix_torch.continuous.temperature import Temperature
from optix_torch.continuous.torch_continuous_agent import TorchContinuousAgent
from optix_torch.continuous.twin import Actor, TwinCritics
from optix_torch.training.descent import Descent

if TYPE_CHECKING:
    from optix_core.export import GraphBuilder
    from optix_core.normalizers import ObsNormalizer

NAME = "TorchSACAgent"


class TorchSACAgent(TorchContinuousAgent):
    """Soft actor-critic with two critics and a temperature that adapts itself.

    Plain perceptrons act through numpy on the memory that training changes, and learn with gradients written out; any
    other module acts and learns through PyTorch. Modules are put into eval mode.

    Args:
        actor: ``[B, *obs]`` to means followed by logarithms of standard deviations, ``[B, 2 A]``; the latter are
            clamped to [-20, 2].
        critic1: Observations and actions (in [-1, 1]), as one row ``[B, obs + A]`` or, if its ``forward`` has two
            parameters, apart, to ``[B, 1]``.
        critic2: Another one.
        action_dim: A.
        actor_optimizer: Over the actor's parameters.
        critic_optimizer: Over those of both critics.
        alpha_optimizer: Over one number, which becomes the logarithm of the temperature. Its groups, options and state
            are kept, and the number's value, unless ``log_alpha_init`` is given. None: an Adam with the actor's rate.
        hyperparams: Values that differ from the defaults; see ``optix_core.agents.hypers.sac``. Copied.
            ``learning_rate`` is the actor's; rates that differ from it in the other optimizers keep their ratio to it.
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
        alpha_optimizer: torch.optim.Optimizer | None = None,
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
        self._temperature = Temperature(alpha_optimizer, given["learning_rate"])
        given["log_alpha_init"] = self._temperature.log_alpha
        hp = declared.merge(HYPERS, given, hyperparams, owner=NAME)
        self._temperature.set(hp["log_alpha_init"])
        self._temperature_descent = Descent(self._temperature.training)
        how: dict[str, Any] = {"device": device, "engine": engine}
        policy = Actor(actor, actor_optimizer, observation_normalizer, **how)
        critics = TwinCritics(critic1, critic2, critic_optimizer, **how)
        self._start(
            policy,
            critics,
            hp,
            action_dim=action_dim,
            outputs_per_action=2,
            action_space=action_space,
            observation_space=observation_space,
            observation_normalizer=observation_normalizer,
            replay=replay,
            threads=threads,
            seed=seed,
            trainables={"temperature": self._temperature.training},
        )

    @property
    def alpha(self) -> float:
        """The temperature in force: what a nat of entropy is worth in reward."""
        return self._hp["alpha"] or math.exp(self._temperature.log_alpha)

    def _policy_actions(
        self, observations: NDArray[Any], rng: np.random.Generator | None
    ) -> NDArray[np.float32]:
        return squashed.act(self._actor_outputs(observations), rng)

    def _gradient_step(self) -> None:
        hp, actor, critics, alpha = self._hp, self._actor, self._critics, self.alpha
        batch, noise = self._draw(), self._noise(2)
        outputs, next_outputs = actor.outputs_of_both(batch.observations, batch.following)
        # Targets: the present policy chooses what comes next, the slow critics say what that is worth.
        following = squashed.sample(next_outputs, noise[0])
        next_values = critics.target_values(batch.following, following.actions).min(axis=0)
        targets = batch.rewards + batch.discounts * (next_values - alpha * following.log_probs)
        if not self._critic_step(batch, targets):
            return
        # Actor: minimises mean(alpha log pi - min Q), climbing the critics as they are now.
        chosen = squashed.sample(outputs, noise[1])
        values, slopes = critics.least(batch.observations, chosen.actions)
        entropy = -float(chosen.log_probs.mean())
        loss = -alpha * entropy - float(values.mean())
        actor.backward(chosen.gradient(slopes * (-1.0 / len(values)), alpha / len(values)))
        stepped = self._actor_descent.step(hp["max_grad_norm"] or math.inf, actor_loss=loss, entropy=entropy)
        # Temperature: the derivative of -log(alpha) (log pi + target entropy), the log-density a constant.
        if stepped and not hp["alpha"]:
            target_entropy = hp["target_entropy_per_dim"] * self._action_dim
            self._temperature.training.flat.grad.fill_(entropy - target_entropy)
            self._temperature_descent.step(math.inf)
        critics.target.polyak(hp["tau"])

    def _describe_greedy(self, b: GraphBuilder, outputs: str) -> str:
        return squashed.describe(b, outputs, self._action_dim)

    def _begin_round(self) -> None:
        super()._begin_round()
        self._temperature_descent.begin()

    def _facts(self) -> dict[str, Any]:
        self._temperature_descent.report()
        return {"alpha": self.alpha}


def build(ctx: AgentContext, **options: Any) -> TorchSACAgent:
    """The standard agent for an environment; options are those of :func:`optix_torch.continuous.standard.sac_parts`."""
    return TorchSACAgent(**sac_parts(ctx, "SAC", **options))
