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

What a gradient step computes is in ``continuous/sac_update.py``; all that are due at one moment are one compiled call.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from optix_core import hyperparams as declared
from optix_core.agents import squashed
from optix_core.agents.hypers.sac import HYPERS
from optix_core.plugin import AgentContext
from optix_core.types import HyperparamSet
from optix_jax.continuous.compiled_agent import CompiledAgent
from optix_jax.continuous.networks import ActorCritics, temperature
from optix_jax.continuous.sac_update import MEASURED, SACState, sac_update
from optix_jax.continuous.standard import sac_parts
from optix_jax.training.compiled import Compiled
from optix_jax.training.optimizers import as_optimizer
from optix_jax.training.trainable import Trainable

if TYPE_CHECKING:
    from optix_core.export import GraphBuilder
    from optix_core.normalizers import ObsNormalizer

NAME = "FlaxSACAgent"


class FlaxSACAgent(CompiledAgent):
    """Soft actor-critic with two critics and a temperature that adapts itself, its updates compiled.

    Perceptrons act through numpy; any other network through one compiled function. Hyperparameters are arguments of the
    compiled update: only ``batch_size`` and the number of gradient steps that are due together (``gradient_steps``,
    and ``train_freq`` with the number of environments; made as powers of two) decide shapes, and thereby how often it
    is compiled, which ``learn`` reports.

    Args:
        actor: ``[B, *obs]`` to means followed by logarithms of standard deviations, ``[B, 2 A]``; the latter are
            clamped to [-20, 2]. A flax module (nnx or linen), or a network of ``optix_jax.networks``.
        critic1: Observations and actions (in [-1, 1]), as one row ``[B, obs + A]`` or, if its ``__call__`` has two
            parameters, apart, to ``[B, 1]``. Instead of both critics, a
            :class:`~optix_jax.continuous.twin.TwinCritics`.
        critic2: Another one; None with a ``TwinCritics``.
        action_dim: A.
        actor_optimizer: A transformation of optax made by ``optax.inject_hyperparams``, an
            :class:`~optix_jax.training.optimizers.Adam`, or None for the latter.
        critic_optimizer: Over the parameters of both critics, as above.
        alpha_optimizer: Over the logarithm of the temperature; None: an Adam with the actor's rate.
        hyperparams: Values that differ from the defaults; see ``optix_core.agents.hypers.sac``. Copied.
            ``learning_rate`` is the actor's; rates that differ from it in the other optimizers keep their ratio to it.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:N"`` or a ``jax.Device``.
        action_space: The environment's Box, which [-1, 1] is mapped to; None leaves actions in [-1, 1].
        observation_space: Needed by linen modules, and by :meth:`act` for observations with parts.
        observation_normalizer: Applied to observations before acting and learning; updated after each window.
        replay: Used instead of a new buffer, for example a ``HindsightReplay``.
        seed: Root seed of acting, replay and noise; None draws one from the operating system.

    Raises:
        ConfigError: Networks, optimizers, device or replay memory cannot be used together.
        SpaceError: The Box is not bounded, or does not fit ``action_dim``.
        HyperparamError: A name is unknown or a value out of range.
    """

    hypers = HYPERS
    measured = MEASURED
    noises = 2

    def __init__(
        self,
        actor: Any,
        critic1: Any,
        critic2: Any,
        action_dim: int,
        actor_optimizer: Any = None,
        critic_optimizer: Any = None,
        alpha_optimizer: Any = None,
        hyperparams: HyperparamSet | Mapping[str, Any] | None = None,
        device: Any = "auto",
        *,
        action_space: Any = None,
        observation_space: Any = None,
        observation_normalizer: ObsNormalizer | None = None,
        replay: Any = None,
        seed: int | None = None,
    ) -> None:
        given = (
            {} if actor_optimizer is None else {"learning_rate": as_optimizer(actor_optimizer).learning_rate}
        )
        hp = declared.merge(HYPERS, given, hyperparams, owner=NAME)
        networks = ActorCritics(
            actor,
            critic1,
            critic2,
            action_dim,
            actor_optimizer,
            critic_optimizer,
            learning_rate=hp["learning_rate"],
            device=device,
            observation_space=observation_space,
            seed=seed,
        )
        stepping = as_optimizer(alpha_optimizer, networks.actor.learning_rate())
        self._temperature = Trainable(
            {"temperature": temperature(hp["log_alpha_init"])}, stepping, networks.device, perturbable=False
        )
        self._update = Compiled.made_by(sac_update, *networks.functions, stepping)
        self._start(
            networks,
            hp,
            observation_normalizer,
            action_dim=action_dim,
            outputs_per_action=2,
            action_space=action_space,
            observation_space=observation_space,
            replay=replay,
            seed=seed,
            trainables={"temperature": self._temperature},
        )

    @property
    def alpha(self) -> float:
        """The temperature in force: what a nat of entropy is worth in reward."""
        log_alpha = self._temperature.params["temperature"]["log_alpha"]
        return self._hp["alpha"] or math.exp(float(np.asarray(log_alpha)[0]))

    def _policy_actions(
        self, observations: NDArray[Any], rng: np.random.Generator | None
    ) -> NDArray[np.float32]:
        return squashed.act(self._actor_outputs(observations), rng)

    def _state(self) -> SACState:
        networks = self._networks
        return SACState(
            actor=networks.actor.params,
            critics=networks.critics.params,
            target=networks.target.params,
            temperature=self._temperature.params,
            moments={
                "actor": networks.actor.moments,
                "critics": networks.critics.moments,
                "temperature": self._temperature.moments,
            },
            in_a_row=self._in_a_row,
        )

    def _take(self, state: SACState) -> None:
        networks = self._networks
        networks.actor.params, networks.actor.moments = state.actor, state.moments["actor"]
        networks.critics.params, networks.critics.moments = state.critics, state.moments["critics"]
        networks.target.params = state.target
        self._temperature.params = state.temperature
        self._temperature.moments = state.moments["temperature"]
        self._in_a_row = state.in_a_row

    def _arguments(self, hp: dict[str, Any]) -> dict[str, Any]:
        return {
            "actor_rate": self._networks.actor.learning_rate(),
            "critic_rate": self._networks.critics.learning_rate(),
            "alpha_rate": self._temperature.learning_rate(),
            "max_norm": hp["max_grad_norm"] or math.inf,
            "tau": hp["tau"],
            "alpha": hp["alpha"],
            "target_entropy": hp["target_entropy_per_dim"] * self._action_dim,
        }

    def _describe_greedy(self, b: GraphBuilder, outputs: str) -> str:
        return squashed.describe(b, outputs, self._action_dim)

    def _facts(self) -> dict[str, Any]:
        return {"alpha": self.alpha}


def build(ctx: AgentContext, **options: Any) -> FlaxSACAgent:
    """The standard agent for an environment; options are those of :func:`optix_jax.continuous.standard.sac_parts`."""
    return FlaxSACAgent(**sac_parts(ctx, "SAC", **options))
