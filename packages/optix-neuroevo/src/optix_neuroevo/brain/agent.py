"""An agent that trains a network of regions: the graph agent on the whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from optix_neuroevo.agents.graph_agent import RecurrentGraphAgent
from optix_neuroevo.brain.network import BrainNetwork


class BrainAgent(RecurrentGraphAgent):
    """PPO of all regions and pathways together.

    Args:
        brain: Its outputs are one for each action, then the value of the state.
        obs_dim: Numbers in one flat observation.
        n_actions: See :class:`~optix_neuroevo.agents.graph_agent.GraphAgent`.
        views: See :meth:`BrainNetwork.columns`.
        **options: Everything that :class:`~optix_neuroevo.agents.graph_agent.RecurrentGraphAgent` takes.

    Attributes:
        brain: As given.
    """

    def __init__(
        self,
        brain: BrainNetwork,
        obs_dim: int,
        n_actions: int,
        *,
        views: Mapping[str, Iterable[int]] | None = None,
        **options: Any,
    ) -> None:
        self.brain = brain
        super().__init__(brain.graph, obs_dim, n_actions, columns=brain.columns(views, obs_dim), **options)
