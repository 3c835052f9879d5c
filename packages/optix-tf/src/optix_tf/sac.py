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

What a gradient step is stands in ``continuous/sac_update.py`` and ``continuous/losses.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from optix_core import hyperparams as declared
from optix_core.agents import squashed
from optix_core.agents.hypers.sac import HYPERS
from optix_core.plugin import AgentContext
from optix_core.types import HyperparamSet
from optix_tf.continuous.compiled_agent import CompiledAgent
from optix_tf.continuous.networks import ActorAndCritics
from optix_tf.continuous.sac_update import SETTINGS, SACState, make_sac_update
from optix_tf.continuous.standard import sac_parts
from optix_tf.continuous.temperature import Temperature
from optix_tf.training.rounds import rounds

if TYPE_CHECKING:
    from optix_core.export import GraphBuilder
    from optix_core.normalizers import ObsNormalizer

NAME = "TFSACAgent"


class TFSACAgent(CompiledAgent):
    """Soft actor-critic with two critics and a temperature that adapts itself.

    All gradient steps that are due at one moment are one compiled function, which no hyperparameter makes compile
    again. With prioritised replay each step is a call of its own: what it finds decides what the next one draws. Plain
    perceptrons act through numpy, any other model through a compiled function. Models are called with
    ``training=False``.

    Args:
        actor: A built Keras model, ``[B, *obs]`` to means followed by logarithms of standard deviations, ``[B, 2 A]``;
            the latter are clamped to [-20, 2].
        critic1: A built Keras model of observations and actions (in [-1, 1]), as one row ``[B, obs + A]`` or, if it has
            two inputs, apart, to ``[B, 1]``.
        critic2: Another one.
        action_dim: A.
        actor_optimizer: :class:`~optix_tf.training.adam.Adam`, or any of ``keras.optimizers``.
        critic_optimizer: Another one, for both critics.
        alpha_optimizer: Another one, for the logarithm of the temperature. None: an Adam with the actor's rate.
        hyperparams: Values that differ from the defaults; see ``optix_core.agents.hypers.sac``. Copied.
            ``learning_rate`` is the actor's; rates that differ from it in the other optimizers keep their ratio to it.
        device: ``"auto"`` (a GPU if there is one), ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        action_space: The environment's Box, which [-1, 1] is mapped to; None leaves actions in [-1, 1].
        observation_space: Needed only by :meth:`act` for observations with parts.
        observation_normalizer: Applied to observations before acting and learning; updated after each window.
        replay: Used instead of a new buffer, for example a ``HindsightReplay``.
        seed: Root seed of acting, replay and noise; None draws one from the operating system.

    Raises:
        ConfigError: Networks, optimizers, device or replay memory cannot be used together.
        SpaceError: The Box is not bounded, or does not fit ``action_dim``.
        HyperparamError: A name is unknown or a value out of range.
    """

    hypers = HYPERS
    noises = 2

    def __init__(
        self,
        actor: Any,
        critic1: Any,
        critic2: Any,
        action_dim: int,
        actor_optimizer: Any,
        critic_optimizer: Any,
        alpha_optimizer: Any = None,
        hyperparams: HyperparamSet | Mapping[str, Any] | None = None,
        *,
        device: str = "auto",
        action_space: Any = None,
        observation_space: Any = None,
        observation_normalizer: ObsNormalizer | None = None,
        replay: Any = None,
        seed: int | None = None,
    ) -> None:
        nets = ActorAndCritics(
            actor, critic1, critic2, actor_optimizer, critic_optimizer, observation_normalizer, device=device
        )
        given = {"learning_rate": nets.actor.learning_rate()}
        hp = declared.merge(HYPERS, given, hyperparams, owner=NAME)
        with tf.device(nets.device):
            self._temperature = Temperature(alpha_optimizer, given["learning_rate"], nets.dtype)
            self._temperature.set(hp["log_alpha_init"])
        temperature = self._temperature.training
        self._update = rounds(
            make_sac_update,
            *nets.key,
            (nets.actor.optimizer, nets.critics.optimizer, temperature.optimizer),
            shareable=nets.shareable and temperature.shareable_optimizer,
        )
        self._start(
            nets,
            hp,
            observation_normalizer,
            action_dim=action_dim,
            outputs_per_action=2,
            action_space=action_space,
            observation_space=observation_space,
            replay=replay,
            seed=seed,
            trainables={"temperature": temperature},
        )

    @property
    def alpha(self) -> float:
        """The temperature in force: what a nat of entropy is worth in reward."""
        return self._hp["alpha"] or math.exp(self._temperature.log_alpha)

    def _policy_actions(
        self, observations: NDArray[Any], rng: np.random.Generator | None
    ) -> NDArray[np.float32]:
        return squashed.act(self._actor_outputs(observations), rng)

    def _state(self) -> SACState:
        nets, temperature = self._networks, self._temperature.training
        return SACState(
            nets.actor.vector,
            nets.critics.vector,
            nets.target.vector,
            temperature.vector,
            (nets.actor.state, nets.critics.state, temperature.state),
            self._in_a_row,
        )

    def _take(self, state: SACState) -> None:
        nets = self._networks
        nets.actor.adopt(state.actor, state.moments[0])
        nets.critics.adopt(state.critics, state.moments[1], refresh=False)
        self._temperature.training.adopt(state.log_alpha, state.moments[2])
        nets.target.vector, self._in_a_row = state.target, state.in_a_row

    def _settings(self) -> Any:
        target_entropy = self._hp["target_entropy_per_dim"] * self._action_dim
        rate = self._temperature.training.learning_rate()
        values = {**self._hp, "alpha_rate": rate, "target_entropy": target_entropy}
        return self._networks.settings(values, SETTINGS)

    def _log_actor(self, rows: NDArray[Any]) -> None:
        rows = rows[np.isfinite(rows[:, 0])]  # the actor's turn comes after a step of the critics
        self._actor_log.extend(rows[:, 3], actor_loss=rows[:, 4], entropy=rows[:, 5])

    def _describe_greedy(self, b: GraphBuilder, outputs: str) -> str:
        return squashed.describe(b, outputs, self._action_dim)

    def _facts(self) -> dict[str, Any]:
        return {"alpha": self.alpha}


def build(ctx: AgentContext, **options: Any) -> TFSACAgent:
    """The standard agent for an environment; options are those of :func:`optix_tf.continuous.standard.sac_parts`."""
    return TFSACAgent(**sac_parts(ctx, "SAC", **options))
