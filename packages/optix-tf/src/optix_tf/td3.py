"""Twin delayed deep deterministic policy gradient, TD3 (Fujimoto et al. 2018, arXiv:1802.09477).

What decides success:

1. Noise in acting, normal and in units of [-1, 1]; greedy actions have none.
2. Targets take the smaller of two slow critics (eq. 10) for the slow actor's action plus clipped noise, which is
   clipped to [-1, 1] again after it was added (eq. 14).
3. The actor, and everything that is slow, moves only every ``policy_delay`` gradient steps (section 5.2).
4. The actor climbs the first critic alone.
5. Only terminal states have no value. A time limit is bootstrapped from the observation that truly followed.
6. Everything that has a cadence counts environment steps; the first actions are uniform in the Box.

What a gradient step is stands in ``continuous/td3_update.py`` and ``continuous/losses.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from optix_core import hyperparams as declared
from optix_core.agents.hypers.td3 import HYPERS
from optix_core.agents.steps import StepCount
from optix_core.plugin import AgentContext
from optix_core.types import HyperparamSet
from optix_tf.continuous.compiled_agent import CompiledAgent
from optix_tf.continuous.networks import ActorAndCritics
from optix_tf.continuous.standard import td3_parts
from optix_tf.continuous.td3_update import SETTINGS, TD3State, make_td3_update
from optix_tf.training.rounds import rounds

if TYPE_CHECKING:
    from optix_core.normalizers import ObsNormalizer

NAME = "TFTDDAgent"


class TFTDDAgent(CompiledAgent):
    """TD3: a deterministic policy with two critics and delayed policy updates; also importable as ``TFTD3Agent``.

    What is not said here is as for :class:`~optix_tf.TFSACAgent`.

    Args:
        actor: A built Keras model, ``[B, *obs]`` to actions ``[B, A]`` in [-1, 1]: its last layer is a tanh. What lies
            beyond is clipped in acting and in targets.
        critic1: A built Keras model of observations and actions (in [-1, 1]), as one row ``[B, obs + A]`` or, if it has
            two inputs, apart, to ``[B, 1]``. The actor climbs this one.
        critic2: Another one.
        action_dim: A.
        actor_optimizer: :class:`~optix_tf.training.adam.Adam`, or any of ``keras.optimizers``.
        critic_optimizer: Another one, for both critics.
        hyperparams: Values that differ from the defaults; see ``optix_core.agents.hypers.td3``. Copied.
            ``learning_rate`` is the actor's; a rate that differs from it in the other optimizer keeps its ratio to it.
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

    def __init__(
        self,
        actor: Any,
        critic1: Any,
        critic2: Any,
        action_dim: int,
        actor_optimizer: Any,
        critic_optimizer: Any,
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
            actor,
            critic1,
            critic2,
            actor_optimizer,
            critic_optimizer,
            observation_normalizer,
            device=device,
        )
        given = {"learning_rate": nets.actor.learning_rate()}
        hp = declared.merge(HYPERS, given, hyperparams, owner=NAME)
        self._update = rounds(
            make_td3_update,
            *nets.key,
            (nets.actor.optimizer, nets.critics.optimizer),
            shareable=nets.shareable,
        )
        self._steps = StepCount()
        self._start(
            nets,
            hp,
            observation_normalizer,
            action_dim=action_dim,
            outputs_per_action=1,
            action_space=action_space,
            observation_space=observation_space,
            replay=replay,
            seed=seed,
            parts={"target_actor": nets.slow_actor, "steps": self._steps},
        )

    def _policy_actions(
        self, observations: NDArray[Any], rng: np.random.Generator | None
    ) -> NDArray[np.float32]:
        actions = self._actor_outputs(observations).astype(np.float32)
        if rng is not None:
            actions += self._hp["exploration_noise"] * rng.standard_normal(actions.shape, np.float32)
        return actions.clip(-1.0, 1.0)

    def _state(self) -> TD3State:
        nets = self._networks
        return TD3State(
            nets.actor.vector,
            nets.slow_actor.vector,
            nets.critics.vector,
            nets.target.vector,
            (nets.actor.state, nets.critics.state),
            tf.constant(self._steps.count, tf.int32),
            self._in_a_row,
        )

    def _take(self, state: TD3State) -> None:
        nets = self._networks
        nets.actor.adopt(state.actor, state.moments[0])
        nets.critics.adopt(state.critics, state.moments[1], refresh=False)
        nets.slow_actor.vector, nets.target.vector = state.slow_actor, state.target
        self._steps.count, self._in_a_row = int(state.steps), state.in_a_row

    def _settings(self) -> Any:
        return self._networks.settings(self._hp, SETTINGS)

    def _log_actor(self, rows: NDArray[Any]) -> None:
        rows = rows[rows[:, 3] > 0.5]
        self._actor_log.extend(rows[:, 4], actor_loss=rows[:, 5])


TFTD3Agent = TFTDDAgent


def build(ctx: AgentContext, **options: Any) -> TFTDDAgent:
    """The standard agent for an environment; options are those of :func:`optix_tf.continuous.standard.td3_parts`."""
    return TFTDDAgent(**td3_parts(ctx, "TD3", **options))
