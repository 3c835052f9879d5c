"""How the PyTorch agents for continuous actions make their gradient steps: one by one, guarded, within threads."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from optix_core.agents.continuous_agent import ContinuousAgent, actor_and_critics
from optix_core.agents.draws import Draw
from optix_torch.continuous.setup import change_learning_rate
from optix_torch.continuous.twin import Actor, TwinCritics
from optix_torch.describing import describe
from optix_torch.training.descent import Descent
from optix_torch.training.threads import Threads
from optix_torch.training.trainable import Trainable

if TYPE_CHECKING:
    from optix_core.export import GraphBuilder


class TorchContinuousAgent(ContinuousAgent):
    """An off-policy agent for Box actions whose networks are PyTorch modules."""

    _trainables: dict[str, Trainable]  # type: ignore[assignment]

    def _start(
        self, actor: Actor, critics: TwinCritics, hp: dict[str, Any], *, threads: Any, **rest: Any
    ) -> None:
        """Take over the parts; ``rest`` are the other arguments of ``ContinuousAgent._begin``."""
        self._actor, self._critics = actor, critics
        flat = actor.training.flat
        largest = max(flat.vector.numel(), critics.training.flat.vector.numel() // 2)
        self._threads = Threads(threads, largest, flat.vector.device)
        self._actor_descent, self._critic_descent = Descent(actor.training), Descent(critics.training)
        self._begin(actor.training, critics.training, critics.target, actor.mirror, hp, **rest)

    def _gradient_steps(self, n: int) -> None:
        # numbers that are too large become infinite or NaN, which the guarded steps find
        with self._threads, np.errstate(over="ignore", invalid="ignore"):
            self._begin_round()
            for _ in range(n):
                if not (self._critic_descent.diverged or self._actor_descent.diverged):
                    self._gradient_step()
        self._actor.mirror.refresh()

    @abstractmethod
    def _gradient_step(self) -> None:
        """One draw from replay, and what is learned from it."""

    def _begin_round(self) -> None:
        self._critic_descent.begin()
        self._actor_descent.begin()

    def _report(self) -> dict[str, Any]:
        return actor_and_critics(self._actor_descent.report(), self._critic_descent.report())

    def _draw(self) -> Draw:
        """A batch from replay; observations are tensors, dicts of them for observations with parts."""
        found, flat = super()._draw(), self._actor.training.flat
        return replace(
            found, observations=flat.tensor(found.observations), following=flat.tensor(found.following)
        )

    def _critic_step(self, batch: Draw, targets: NDArray[Any]) -> bool:
        """One step of both critics towards ``targets`` ``[B]``, unless the gradient is not finite.

        The loss is ``mean(w (Q1 - y)^2) + mean(w (Q2 - y)^2)``: no critic's error is averaged away. Priorities are the
        mean size of both errors.
        """
        values = self._critics.values(batch.observations, batch.actions)
        errors = values - targets
        weighted = errors * batch.weights
        loss = float(np.vdot(weighted, errors)) / len(targets)
        self._critics.backward((2.0 / len(targets)) * weighted)
        limit = self._hp["max_grad_norm"] or math.inf
        q_mean = float(np.add.reduce(values, axis=None)) / values.size
        if not self._critic_descent.step(limit, critic_loss=loss, q_mean=q_mean):
            return False
        if self._prioritized is not None:
            self._prioritized.update_priorities(batch.indices, np.abs(errors).mean(axis=0))
        return True

    def _describe_actor(self, b: GraphBuilder, x: Any) -> str:
        return describe(b, self._actor.module, x)

    def _change_learning_rate(self, value: float) -> None:
        change_learning_rate(self._trainables.values(), value)
