"""Exploration by epsilon-greedy choices: now and then an action at random, ever more rarely (Mnih et al. 2015)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.agents.value_agent import Masks, ValueAgent
from optix_core.rl.schedules import linear


class EpsilonGreedyAgent(ValueAgent):
    """Chooses at random, of the allowed actions, with the probability epsilon, and greedily otherwise.

    Epsilon goes linearly from ``epsilon`` to ``epsilon_min`` over ``epsilon_decay_steps`` environment steps, which are
    hyperparameters of the agent.
    """

    @property
    def epsilon(self) -> float:
        """The share of random actions now."""
        hp = self._hp
        schedule = linear(hp["epsilon"], hp["epsilon_min"], hp["epsilon_decay_steps"])
        return schedule(self._cadence.env_steps)

    def _explore(
        self, observations: NDArray[Any], masks: Masks, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        n = len(observations)
        exploring = rng.random(n) < self.epsilon
        if exploring.all():
            return self._random(n, masks, rng)
        chosen = self._greedy(observations, masks)
        if exploring.any():
            chosen[exploring] = self._random(n, masks, rng)[exploring]
        return chosen

    def _facts(self) -> dict[str, Any]:
        return {"epsilon": self.epsilon}
