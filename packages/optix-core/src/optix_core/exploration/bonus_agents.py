"""Stepwise learners that are told rewards with a bonus: the agent, with one method changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.base_agent import BatchActing, RecurrentActing, StepwiseLearning
from optix_core.errors import ConfigError

Bonus = Callable[[NDArray[Any]], NDArray[np.float64]]


class SingleBonusAgent:
    """Acts as ``agent`` does and is told rewards plus ``bonus(next observations)``.

    Pipelines look capabilities up by the names of methods, so every capability is spelled out.
    """

    def __init__(self, agent: Any, bonus: Bonus) -> None:
        self.agent, self._bonus = agent, bonus
        self.accepts_action_masks = bool(getattr(agent, "accepts_action_masks", False))

    def act(self, observation: Any, **options: Any) -> Any:
        """As the agent does."""
        return self.agent.act(observation, **options)

    def observe(
        self,
        observations: NDArray[Any],
        actions: NDArray[Any],
        rewards: NDArray[np.float64],
        next_observations: NDArray[Any],
        terminated: NDArray[np.bool_],
        truncated: NDArray[np.bool_],
    ) -> None:
        """Tell the agent, with the bonus."""
        more = rewards + self._bonus(next_observations)
        self.agent.observe(observations, actions, more, next_observations, terminated, truncated)


class BatchBonusAgent(SingleBonusAgent):
    """The same for agents that act in batches."""

    def act_batch(self, observations: NDArray[Any], *, deterministic: bool = False) -> NDArray[Any]:
        """As the agent does."""
        return self.agent.act_batch(observations, deterministic=deterministic)

    def env_actions(self, actions: NDArray[Any]) -> NDArray[Any]:
        """As the agent does."""
        return self.agent.env_actions(actions)


def with_bonus(agent: Any, bonus: Bonus) -> Any:
    """``agent`` itself if it learns from windows; otherwise an agent that is told rewards with the bonus.

    Raises:
        ConfigError: It does not say that a bonus reaches it, or it learns stepwise and has a memory.
    """
    name = type(agent).__name__
    if not getattr(agent, "accepts_intrinsic_rewards", False):
        raise ConfigError(
            f"{name} does not say accepts_intrinsic_rewards, so the bonus might never reach it. An agent that learns "
            "from EpisodeData.learning_rewards (instead of rewards), or from what observe() is told, sets it to True."
        )
    if not isinstance(agent, StepwiseLearning):
        return agent
    if isinstance(agent, RecurrentActing):
        raise ConfigError(
            f"{name} learns stepwise and has a memory: RNDPipeline cannot stand between the two"
        )
    return (BatchBonusAgent if isinstance(agent, BatchActing) else SingleBonusAgent)(agent, bonus)
