"""Rounds of compiled gradient steps, for the agents with an actor and two critics.

It holds no algorithm: what a gradient step computes is the agent's update.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from optix_core.agents.continuous_agent import ContinuousAgent, actor_and_critics
from optix_core.agents.draws import stacked
from optix_core.agents.steps import StepLog
from optix_tf.continuous.networks import ActorAndCritics
from optix_tf.describing import describe
from optix_tf.training.rounds import Round, batches_of

if TYPE_CHECKING:
    from optix_core.export import GraphBuilder


class CompiledAgent(ContinuousAgent):
    """Draws from replay, makes all gradient steps that are due in compiled calls, and remembers what they measured.

    The first columns that an update measures are the norm of the critics' gradient, their loss and their mean value.

    Attributes:
        noises: Arrays of normal draws ``[B, A]`` for each gradient step.
    """

    noises: ClassVar[int] = 1

    _update: Round

    def _start(
        self, networks: ActorAndCritics, hp: dict[str, Any], observation_normalizer: Any, **begin: Any
    ) -> None:
        """Take over the parts; subclasses call this at the end of their construction."""
        self._networks = networks
        self._actor_log, self._critic_log = StepLog(), StepLog()
        with tf.device(networks.device):
            self._in_a_row: Any = tf.zeros(2, tf.int32)
        self._begin(
            networks.actor,
            networks.critics,
            networks.target,
            networks.mirror,
            hp,
            observation_normalizer=observation_normalizer,
            **begin,
        )

    @property
    def n_compilations(self) -> int:
        """How often updates of networks like these were compiled in this process."""
        return self._update.n_compilations

    @abstractmethod
    def _state(self) -> Any:
        """What the update changes, as it is now."""

    @abstractmethod
    def _take(self, state: Any) -> None:
        """Put what the update changed in place."""

    @abstractmethod
    def _settings(self) -> Any:
        """The update's hyperparameters, as one vector."""

    @abstractmethod
    def _log_actor(self, rows: NDArray[Any]) -> None:
        """Remember what the actor's steps measured; ``rows`` are those of all steps that were tried."""

    def _gradient_steps(self, n: int) -> None:
        # with priorities a step decides what the next one draws; without, all can be drawn before
        at_once = n if self._prioritized is None else 1
        for _ in range(0, n, at_once):
            if not (self._critic_log.diverged or self._actor_log.diverged):
                self._round(at_once)

    def _round(self, k: int) -> None:
        """``k`` gradient steps in one call."""
        nets = self._networks
        drawn = [(self._draw(), self._noise(self.noises)) for _ in range(k)]
        batch = stacked([draw for draw, _ in drawn])
        noise = np.stack([noise for _, noise in drawn]).swapaxes(1, 2)  # [k, B, noises, A]
        state, settings = self._state(), self._settings()
        with tf.device(nets.device):
            state, measured, priorities = self._update(
                state, batches_of(batch, nets.dtype, noise=noise), settings
            )
        self._take(state)
        rows = measured.numpy()
        made = self._critic_log.extend(rows[:, 0], critic_loss=rows[:, 1], q_mean=rows[:, 2])
        self._log_actor(rows)
        if made and self._prioritized is not None:
            self._prioritized.update_priorities(batch.indices[0], priorities.numpy())

    def _report(self) -> dict[str, Any]:
        self._networks.publish()  # the user's models have the weights of the last window
        return actor_and_critics(self._actor_log.report(), self._critic_log.report())

    def _describe_actor(self, b: GraphBuilder, x: Any) -> str:
        self._networks.publish()
        return describe(b, self._networks.model, x)
