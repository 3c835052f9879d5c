"""Rounds of compiled gradient steps, for the agents with an actor and two critics.

It holds no algorithm: what a gradient step computes is the agent's update.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import jax.numpy as jnp
import numpy as np

from optix_core.agents.continuous_agent import ContinuousAgent, actor_and_critics
from optix_core.agents.draws import Draw
from optix_core.agents.mirror import Mirror
from optix_core.agents.steps import StepLog
from optix_jax.continuous.networks import ActorCritics
from optix_jax.networks.network import described
from optix_jax.training.compiled import Compiled
from optix_jax.training.rounds import batches, chunks, traced

if TYPE_CHECKING:
    from optix_core.export import GraphBuilder


class CompiledAgent(ContinuousAgent):
    """Draws from replay, makes all gradient steps that are due in compiled calls, and remembers what they measured.

    Attributes:
        measured: Rows of what the update measures, in its order: ``tried``, ``critic_norm``, ``critic_loss``,
            ``q_mean``, ``turn``, ``actor_norm``, and what else belongs to the actor.
        noises: Arrays of normal draws ``[B, A]`` for each gradient step.
    """

    measured: ClassVar[tuple[str, ...]] = ()
    noises: ClassVar[int] = 1

    _update: Compiled

    def _start(
        self, networks: ActorCritics, hp: dict[str, Any], observation_normalizer: Any, **begin: Any
    ) -> None:
        """Take over the parts; subclasses call this at the end of their construction."""
        self._networks = networks
        self._actor_log, self._critic_log = StepLog(), StepLog()
        self._in_a_row = {"actor": jnp.int32(0), "critics": jnp.int32(0)}
        self._begin(
            networks.actor,
            networks.critics,
            networks.target,
            Mirror(networks.host, observation_normalizer),
            hp,
            observation_normalizer=observation_normalizer,
            **begin,
        )

    @property
    def n_compilations(self) -> int:
        """How often the update was compiled."""
        return self._update.n_compilations

    @abstractmethod
    def _state(self) -> Any:
        """What the update changes, as it is now.

        Its memory is not donated: on a CPU, XLA copies all that is before it begins, a tenth of a step of wide ones.
        """

    @abstractmethod
    def _take(self, state: Any) -> None:
        """Put what the update changed in place."""

    @abstractmethod
    def _arguments(self, hp: dict[str, Any]) -> dict[str, Any]:
        """The update's hyperparameters, as numbers."""

    def _gradient_steps(self, n: int) -> None:
        # with priorities a step decides what the next one draws; without, all can be drawn before
        for k in [1] * n if self._prioritized is not None else chunks(n):
            if not (self._critic_log.diverged or self._actor_log.diverged):
                self._round(k)
        self._networks.host.refresh()

    def _round(self, k: int) -> None:
        draws: list[Draw] = []
        noise: list[Any] = []
        for _ in range(k):
            draws.append(self._draw())
            noise.append(self._noise(self.noises))
        state, measured, priorities = self._update(self._state(), batches(draws, noise), self._traced)
        self._take(state)
        found = dict(zip(self.measured, np.asarray(measured), strict=True))
        tried, turn = found.pop("tried") > 0.0, found.pop("turn") > 0.0
        critic = {name: found.pop(name)[tried] for name in ("critic_norm", "critic_loss", "q_mean")}
        made = self._critic_log.extend(critic.pop("critic_norm"), **critic)
        actor = {name: values[turn] for name, values in found.items()}
        self._actor_log.extend(actor.pop("actor_norm"), **actor)
        if self._prioritized is not None and made:
            self._prioritized.update_priorities(draws[0].indices, np.asarray(priorities)[0])

    def _report(self) -> dict[str, Any]:
        found = actor_and_critics(self._actor_log.report(), self._critic_log.report())
        return {**found, "n_compilations": self.n_compilations}

    def _describe_actor(self, b: GraphBuilder, x: Any) -> str:
        return described(self._networks.network, b, self._networks.actor.host("actor"), x)

    def _apply(self, hp: dict[str, Any]) -> None:
        super()._apply(hp)
        self._traced = traced(self._arguments(hp), self._networks.device)
