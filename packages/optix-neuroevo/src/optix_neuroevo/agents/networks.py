"""A graph as actor and critic: acting in numpy, evaluated with gradients in PyTorch, one plan for both."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from optix_core.acting.distributions import Distribution, Head, distribution
from optix_core.acting.heads import mask_logits
from optix_core.agents.initialising import orthogonal
from optix_core.errors import ConfigError, NumericalDivergence
from optix_neuroevo.graph.neuron_graph import NeuronGraph
from optix_neuroevo.operations.add import add_input_neuron
from optix_neuroevo.plan.module import GraphModule
from optix_torch.policy_gradient import losses

Array = NDArray[Any]


class GraphNetworks:
    """The graph's last output is the value of the state, the ones before it are what a distribution is made of.

    Args:
        graph: Its outputs are one more than ``n_actions``.
        obs_dim: Numbers in one flat observation. If the graph has fewer inputs, it gets more of them, with edges of
            weight 0, unless ``project``.
        n_actions: Choices (of all components together), bits or dimensions.
        head: What the outputs mean.
        nvec: Choices of each component of a MultiDiscrete.
        project: Let the inputs read a learned linear projection of the observation instead.
        rng: Draws the projection.
        columns: ``[n_in]`` which number of the observation each input reads; None: one after another.
        log_std: First logarithm of the standard deviations, if actions are numbers.

    Attributes:
        graph: As given.
        module: It, with gradients.
        extras: Parameters besides those of the graph: ``"projection"`` ``[n_in, obs_dim]`` and ``"log_std"``
            ``[n_actions]``, as far as there are any.
        columns: As given.
        distribution: What outputs ``[N, n_actions]`` mean, in numpy.

    Raises:
        ConfigError: The graph's inputs or outputs do not fit.
    """

    def __init__(
        self,
        graph: NeuronGraph,
        obs_dim: int,
        n_actions: int,
        head: Head,
        nvec: Sequence[int] = (),
        *,
        project: bool = False,
        rng: np.random.Generator | None = None,
        log_std: float = 0.0,
        columns: NDArray[np.int64] | None = None,
    ) -> None:
        found = len(graph.output_ids)
        if found != n_actions + 1:
            raise ConfigError(
                f"the graph has {found} outputs; an agent with {n_actions} actions needs {n_actions + 1}: one for "
                "each, and a last one for the value of the state"
            )
        if graph.dtype != np.float32:
            raise ConfigError(f"agents act in float32; this graph computes in {graph.dtype}")
        inputs = len(graph.input_ids)
        if columns is not None:
            if project or len(columns) != inputs:
                raise ConfigError(
                    f"there are {len(columns)} columns for {inputs} inputs, or a projection besides"
                )
        elif not project:
            while len(graph.input_ids) < obs_dim:
                add_input_neuron(graph)
            if inputs > obs_dim:
                raise ConfigError(
                    f"the graph has {inputs} inputs for observations of {obs_dim} numbers; leave the others out"
                )
        self.graph, self.obs_dim, self.n_actions = graph, obs_dim, n_actions
        self.columns = columns
        self._reads = None if columns is None else torch.from_numpy(columns)
        self.module = GraphModule(graph)
        self.extras: dict[str, nn.Parameter] = {}
        if project:
            drawn = orthogonal((inputs, obs_dim), 1.0, rng or np.random.default_rng(0))
            self.extras["projection"] = nn.Parameter(torch.from_numpy(drawn))
        if head == "gaussian":
            self.extras["log_std"] = nn.Parameter(torch.full((n_actions,), float(log_std)))
        self._views = {name: p.detach().numpy() for name, p in self.extras.items()}
        self.distribution: Distribution = distribution(head, n_actions, nvec, self._views.get("log_std"))
        self._evaluate: Any = {
            "categorical": losses.categorical,
            "multi_categorical": functools.partial(losses.multi_categorical, nvec=tuple(nvec)),
            "bernoulli": losses.bernoulli,
            "gaussian": losses.gaussian,
        }[head]
        self._gaussian = head == "gaussian"

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """All parameters by name; those of the graph as they are now."""
        return {**dict(self.graph.named_parameters()), **self.extras}

    def inputs(self, observations: Array) -> Array:
        """What the graph's inputs read ``[..., n_in]`` of flat, normalised observations ``[..., obs_dim]``."""
        x = observations.astype(np.float32, copy=False)
        if self.columns is not None:
            return x[..., self.columns]
        projection = self._views.get("projection")
        return x if projection is None else x @ projection.T

    def step(self, observations: Array, memory: Array) -> tuple[Array, Array, Array]:
        """One step in numpy.

        Args:
            observations: ``[N, *obs]``, normalised.
            memory: ``[N, M]`` of the graph.

        Returns:
            What the distribution is made of ``[N, n_actions]``, values ``[N]``, and the memory after the step.

        Raises:
            NumericalDivergence: An output is not finite.
        """
        outputs, after = self.graph.step(self.inputs(observations.reshape(len(observations), -1)), memory)
        if not np.isfinite(outputs).all():
            raise NumericalDivergence(
                "the graph gave outputs that are not finite; its weights have probably diverged. Go back to a "
                "checkpoint and lower the learning rate"
            )
        return outputs[:, :-1], outputs[:, -1], after

    def log_probs(self, outputs: Array, actions: Array, masks: NDArray[np.bool_] | None = None) -> Array:
        """``[N]`` of policy actions, in numpy, as they were acted with."""
        return self.distribution.log_probs(outputs if masks is None else mask_logits(outputs, masks), actions)

    def run(
        self, observations: Tensor, memory: Tensor | None, starts: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The same over sequences, with gradients.

        Args:
            observations: ``[L, B, obs_dim]``.
            memory: ``[B, M]`` before the first step.
            starts: ``[L, B]`` where memory is zero before the step.

        Returns:
            What the distribution is made of ``[L, B, n_actions]`` and values ``[L, B]``.
        """
        if self._reads is not None:
            observations = observations[..., self._reads]
        if "projection" in self.extras:
            observations = observations @ self.extras["projection"].T
        outputs, _ = self.module(observations, memory, starts)
        return outputs[..., :-1], outputs[..., -1]

    def evaluate(self, outputs: Tensor, actions: Tensor, masks: Tensor | None) -> tuple[Tensor, Tensor]:
        """Log-probabilities and entropies ``[B]`` of actions under outputs ``[B, n_actions]``."""
        if self._gaussian:
            outputs = torch.cat([outputs, self.extras["log_std"].expand_as(outputs)], dim=-1)
        if masks is None:
            return self._evaluate(outputs, actions)
        return self._evaluate(outputs, actions, masks)
