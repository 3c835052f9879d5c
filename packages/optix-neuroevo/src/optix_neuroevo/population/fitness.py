"""How good is a graph? The mean return of episodes, acting through its numpy plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from optix_core.errors import ConfigError
from optix_neuroevo.graph.neuron_graph import NeuronGraph

Fitness = Callable[[NeuronGraph, np.random.Generator], float]
"""Larger is better. The graph is lent for the call: copy what is to stay. The generator is the same for all genomes of
a generation: they are compared on equal terms."""


class EpisodeReturn:
    """Mean undiscounted return of greedy episodes in a Gymnasium environment.

    Observations are flattened into the graph's inputs. A ``Discrete`` action is the largest output, a ``Box`` action is
    the outputs, clipped to its bounds.

    Args:
        env: With ``Box`` observations and ``Discrete`` or ``Box`` actions. It is not closed.
        episodes: Per evaluation, at least 1; every genome of a generation gets episodes of the same seeds.
        max_steps: Steps after which an episode is over; None: the environment says when.

    Raises:
        ConfigError: Other spaces, or no episodes.
    """

    def __init__(self, env: Any, *, episodes: int = 1, max_steps: int | None = None) -> None:
        from gymnasium import spaces

        if episodes < 1 or (max_steps is not None and max_steps < 1):
            raise ConfigError(
                f"episodes and max_steps are at least 1, got {episodes} and {max_steps}"
            )  # fmt: skip
        observation, action = env.observation_space, env.action_space
        if not isinstance(observation, spaces.Box) or not isinstance(action, spaces.Discrete | spaces.Box):
            raise ConfigError(
                f"evolution acts on Box observations with Discrete or Box actions, not {observation} and {action}; "
                "wrap the environment, or give a fitness function of a graph"
            )
        self.env, self.episodes, self.max_steps = env, episodes, max_steps
        self.n_inputs = int(np.prod(observation.shape))
        self._discrete = isinstance(action, spaces.Discrete)
        self._start = int(action.start) if isinstance(action, spaces.Discrete) else 0
        self.n_outputs = int(action.n) if isinstance(action, spaces.Discrete) else int(np.prod(action.shape))

    def __call__(self, graph: NeuronGraph, rng: np.random.Generator) -> float:
        """The mean return of ``episodes`` episodes, whose seeds ``rng`` draws.

        Raises:
            ConfigError: The graph has other numbers of inputs or outputs than the environment asks for.
        """
        ends = len(graph.input_ids), len(graph.output_ids)
        if ends != (self.n_inputs, self.n_outputs):
            raise ConfigError(
                f"the graph has {ends[0]} inputs and {ends[1]} outputs; the environment needs {self.n_inputs} and "
                f"{self.n_outputs}"
            )
        return (
            sum(self._episode(graph, int(rng.integers(2**31))) for _ in range(self.episodes)) / self.episodes
        )

    def _episode(self, graph: NeuronGraph, seed: int) -> float:
        observation, _ = self.env.reset(seed=seed)
        graph.reset_state()
        total, steps, over = 0.0, 0, False
        while not over:
            outputs = graph.forward(np.reshape(observation, -1))
            observation, reward, terminated, truncated, _ = self.env.step(self._action(outputs))
            total, steps = total + float(reward), steps + 1
            over = bool(terminated or truncated) or steps == self.max_steps
        return total

    def _action(self, outputs: Any) -> Any:
        if self._discrete:
            return self._start + int(np.argmax(outputs))
        space = self.env.action_space
        return np.clip(outputs.reshape(space.shape), space.low, space.high).astype(space.dtype)
