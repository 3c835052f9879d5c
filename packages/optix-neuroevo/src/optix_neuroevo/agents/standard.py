"""The standard graph agent, made from an environment's spaces."""

from __future__ import annotations

import numpy as np

from optix_core import hyperparams as declared
from optix_core.agents.inputs import unmasked
from optix_core.agents.normalizing import make_normalizers
from optix_core.errors import ConfigError, SpaceError
from optix_core.plugin import AgentContext
from optix_core.rl.spaces import describe_space, require_kind
from optix_core.seeding import Domain, fresh_root_seed, generator
from optix_neuroevo.agents.graph_agent import RecurrentGraphAgent
from optix_neuroevo.graph.neuron_graph import DALE_MODES, NeuronGraph
from optix_neuroevo.graph.wiring import layered_graph
from optix_neuroevo.specs import RECURRENT_HYPERS

OWNER = "GraphPPO"
MAX_INPUTS = 16
"""Longer observations are read through a learned projection unless the caller asks for more inputs."""


def build(
    ctx: AgentContext,
    *,
    graph_in: int | None = None,
    graph_hidden: int = 8,
    graph_out: int | None = None,
    neuron: str = "trainable_gru",
    dale_mode: str | None = None,
    hebbian_lr: float = 0.0,
    hebbian_decay: float = 1e-4,
    grow_cooldown: int | None = 20,
    grow_op: str = "insert_edge",
    normalize_observations: bool = True,
    normalize_rewards: bool = True,
    memory_capacity: int | None = None,
    threads: str | int = "auto",
    chunk_len: int = 16,
) -> RecurrentGraphAgent:
    """A graph of one hidden layer, all of it connected, linear outputs, and its agent.

    Args:
        ctx: Spaces, seed, device and hyperparameters.
        graph_in: Input neurons; fewer than the observation has numbers: they read a learned projection of it.
        graph_hidden: Hidden neurons, at least 0.
        graph_out: Must be the number of actions and one more, if it is given.
        neuron: Type of the hidden neurons.
        dale_mode: Whether hidden neurons are excitatory and inhibitory, and how their weights keep their signs.
        hebbian_lr: Above 0: a :class:`~optix_neuroevo.plasticity.hebbian.HebbianHook` joins every training run.
        hebbian_decay: Its ``weight_decay``.
        grow_cooldown: Of the :class:`~optix_neuroevo.control.controller.TopologyController` that joins every training
            run; None: none does, and the graph stays as it is.
        grow_op: Its ``grow_op``.
        normalize_observations: Standardise observations.
        normalize_rewards: Scale rewards.
        memory_capacity: See :class:`~optix_neuroevo.agents.graph_agent.GraphAgent`.
        threads: As there.
        chunk_len: As there.

    Raises:
        SpaceError: The spaces cannot be used.
        ConfigError: An option cannot be used.
    """
    space = unmasked(ctx.observation_space)
    actions = require_kind(
        ctx.action_space,
        {"discrete", "multi_discrete", "multi_binary", "box"},
        role="action",
        component=OWNER,
    )
    if space is not ctx.observation_space and actions.kind not in {"discrete", "multi_discrete"}:
        raise SpaceError(f"{OWNER}: {actions.label} has no separate choices to mask")
    seen = require_kind(space, {"box"}, role="observation", component=OWNER)
    size, n_actions = seen.flat_dim, actions.flat_dim
    inputs = min(size, MAX_INPUTS) if graph_in is None else graph_in
    if not 1 <= inputs <= size:
        raise ConfigError(f"graph_in is {graph_in}; observations have {size} numbers, so it is 1 to {size}")
    if graph_out not in {None, n_actions + 1}:
        raise ConfigError(
            f"graph_out is {graph_out}; {actions.label} needs {n_actions + 1} outputs: {n_actions} for actions and one "
            "for the value of the state. Leave it out"
        )
    if graph_hidden < 0:
        raise ConfigError(f"graph_hidden is {graph_hidden}; it is at least 0")
    if dale_mode not in {None, *DALE_MODES}:
        raise ConfigError(f"dale_mode is {dale_mode!r}; it is None, {' or '.join(DALE_MODES)}")
    hp = declared.merge(RECURRENT_HYPERS, ctx.hyperparams, owner=OWNER)
    seed = fresh_root_seed() if ctx.seed is None else ctx.seed
    rng = generator(seed, Domain.INIT)
    graph = layered_graph(
        inputs, graph_hidden, n_actions + 1, rng, neuron=neuron, dale=dale_mode is not None,
        dale_mode=dale_mode or "clamp", skip=not graph_hidden,
    )  # fmt: skip
    if neuron == "trainable_gru":
        _awaken(graph)
    info = describe_space(space)
    observation_normalizer, reward_normalizer = make_normalizers(
        info.shape if normalize_observations else None, hp["gamma"] if normalize_rewards else None, info.dtype
    )
    agent = RecurrentGraphAgent(
        graph, size, n_actions, hyperparams=hp, device=ctx.device, action_space=ctx.action_space,
        observation_space=ctx.observation_space, project=inputs < size, memory_capacity=memory_capacity,
        observation_normalizer=observation_normalizer, reward_normalizer=reward_normalizer,
        threads=threads, seed=seed, chunk_len=chunk_len,
    )  # fmt: skip
    if hebbian_lr:
        from optix_neuroevo.plasticity.hebbian import HebbianHook

        agent.add_companions(HebbianHook(graph, hebbian_lr=hebbian_lr, weight_decay=hebbian_decay))
    if grow_cooldown is not None:
        from optix_neuroevo.control.controller import TopologyController

        agent.add_companions(
            TopologyController.for_graph(graph, grow_cooldown=grow_cooldown, grow_op=grow_op, seed=seed)
        )
    return agent


def _awaken(graph: NeuronGraph) -> None:
    """Let new gated neurons answer, and remember for different times.

    With the usual initial ``un`` of 0.1 N(0, 1) hardly anything comes through; with ``un`` = 1 and no weights yet in
    its gates, a neuron is a leaky mean of ``tanh`` of its input, and ``bz`` says how leaky. From 2 down to -2 the means
    of the last 1.1 to 8.4 steps are on offer (the idea of Tallec and Ollivier 2018, arXiv:1804.11188: gates that begin
    with a range of time scales).
    """
    names = graph.hidden_ids
    for name, leak in zip(names, np.linspace(2.0, -2.0, len(names)), strict=True):
        kind, view = graph.type_of(name), graph.get_neuron(name)
        assert view.parameters is not None
        values = np.array(view.parameters.data)
        values[kind.parameters.index("un")], values[kind.parameters.index("bz")] = 1.0, leak
        graph.set_parameters(name, values)
