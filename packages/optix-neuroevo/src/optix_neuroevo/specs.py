"""What optix-neuroevo tells optix about its parts; imports nothing heavy."""

from __future__ import annotations

from dataclasses import replace

from optix_core.agents.hypers import ppo
from optix_core.plugin import (
    AgentSpec,
    CommandSpec,
    GrowthGateSpec,
    Hyper,
    MutatorSpec,
    Option,
    PlasticityRuleSpec,
)

HYPERS: tuple[Hyper, ...] = tuple(
    replace(hyper, default=3e-3) if hyper.name == "learning_rate" else hyper for hyper in ppo.HYPERS
)
"""PPO's; networks of a few neurons ask for larger steps.

They need PPO's ten epochs, too. On Pendulum-v1, 8 gated neurons, windows of 2,048 steps, 100,000 steps, seed 0, greedy
returns: -1053 with 4 epochs of minibatches of 256, -180 with 10; -213 with 4 epochs of 64, at the same cost.
"""
RECURRENT_HYPERS: tuple[Hyper, ...] = tuple(
    replace(hyper, default=256) if hyper.name == "minibatch_size" else hyper for hyper in HYPERS
)
"""Minibatches are made of whole sequences."""

_OPTIONS: tuple[Option, ...] = (
    Option("graph_in", None, help="input neurons; None: the observation's size, 16 at most"),
    Option("graph_hidden", 8, help="hidden neurons to begin with"),
    Option("graph_out", None, help="output neurons; None, or the number of actions and one for the value"),
    Option("neuron", "trainable_gru", help="type of the hidden neurons, for example point"),
    Option("dale_mode", None, help="None, or clamp or softplus: four excitatory neurons to one inhibitory"),
    Option("hebbian_lr", 0.0, help="step size of Oja's rule beside the gradients; 0: no such rule"),
    Option("hebbian_decay", 1e-4, help="share of every weight that is lost per window, with hebbian_lr"),
    Option("grow_cooldown", 20, help="windows between two growths; None: the graph does not grow by itself"),
    Option("grow_op", "insert_edge", help="how it grows: insert_edge, split_neuron, add_edge or a mutator"),
    Option("normalize_observations", True, help="standardise observations with running statistics"),
    Option("normalize_rewards", True, help="divide rewards by the running deviation of returns"),
    Option("memory_capacity", None, help="most numbers that the memory of one environment may grow to"),
    Option("threads", "auto", help="PyTorch's threads in learning; auto: one for small networks"),
)

_SPACES = frozenset({"discrete", "multi_discrete", "multi_binary", "box"})

AGENTS: tuple[AgentSpec, ...] = (
    AgentSpec(
        name="GraphPPO",
        algorithm="PPO",
        answers_to=("SAC",),
        framework="torch",
        summary="PPO of a neuron graph with memory that may grow; gradients go back in time",
        factory="optix_neuroevo.agents.standard:build",
        requires=("torch>=2.6",),
        action_spaces=_SPACES,
        observation_spaces=frozenset({"box"}),
        capabilities=frozenset({"checkpoint", "export:onnx", "masks", "neuroevo", "recurrent"}),
        hyperparams=RECURRENT_HYPERS,
        options=(*_OPTIONS, Option("chunk_len", 16, help="steps that gradients go back through memory")),
        default_rank=10,
    ),
)

_ROOM = "optix_neuroevo.mutators"

MUTATORS: tuple[MutatorSpec, ...] = (
    MutatorSpec(
        name="insert_on_edge",
        factory=f"{_ROOM}.growing:InsertOnEdge",
        summary="puts a relay that can become non-linear into the strongest edge",
        operation="grow",
        function_preserving=True,
    ),
    MutatorSpec(
        name="split",
        factory=f"{_ROOM}.growing:Split",
        summary="splits the hidden neuron that matters most, with unequal shares",
        operation="split",
        function_preserving=True,
        needs=frozenset({"activity"}),
    ),
    MutatorSpec(
        name="add_missing_edge",
        factory=f"{_ROOM}.growing:AddMissingEdge",
        summary="adds the missing edge, of any delay, of the steepest gradient",
        operation="grow",
        function_preserving=True,
        needs=frozenset({"edge_gradients"}),
    ),
    MutatorSpec(
        name="add_random_edge",
        factory=f"{_ROOM}.random_growth:AddRandomEdge",
        summary="adds any missing edge; for a fitness without gradients",
        operation="grow",
        function_preserving=True,
    ),
    MutatorSpec(
        name="add_neuron",
        factory=f"{_ROOM}.growing:AddNeuron",
        summary="adds a neuron with random incoming weights and outgoing ones of 0",
        operation="grow",
        function_preserving=True,
    ),
    MutatorSpec(
        name="gradmax",
        factory=f"{_ROOM}.growing:GradMax",
        summary="adds a neuron whose new weights have the largest gradient",
        operation="grow",
        function_preserving=True,
        needs=frozenset({"edge_gradients"}),
    ),
    MutatorSpec(
        name="prune_edge",
        factory=f"{_ROOM}.shrinking:PruneEdge",
        summary="takes away edges of next to no weight",
        operation="prune",
    ),
    MutatorSpec(
        name="prune_neuron",
        factory=f"{_ROOM}.shrinking:PruneNeuron",
        summary="takes away neurons that neither matter nor learn",
        operation="prune",
        needs=frozenset({"activity", "bias_gradients"}),
    ),
    MutatorSpec(
        name="merge_twins",
        factory=f"{_ROOM}.shrinking:MergeTwins",
        summary="merges neurons that say the same",
        operation="merge",
        needs=frozenset({"activity", "correlation"}),
    ),
    MutatorSpec(
        name="rigl",
        factory=f"{_ROOM}.rewiring:RigL",
        summary="moves the weakest edges to where gradients are steepest",
        operation="rewire",
        needs=frozenset({"edge_gradients"}),
    ),
)

GATES: tuple[GrowthGateSpec, ...] = (
    GrowthGateSpec(
        name="not_improving",
        factory="optix_neuroevo.control.gates:NotImproving",
        summary="the newest scores do not rise",
    ),
    GrowthGateSpec(
        name="structured_residuals",
        factory="optix_neuroevo.control.gates:StructuredResiduals",
        summary="scores wander in a way that noise does not",
    ),
    GrowthGateSpec(
        name="gradient_utilisation",
        factory="optix_neuroevo.control.gates:GradientUtilisation",
        summary="most hidden neurons have a gradient that stands out of its noise",
    ),
    GrowthGateSpec(
        name="missing_gradient",
        factory="optix_neuroevo.control.gates:MissingGradient",
        summary="an edge that does not exist would have a gradient far out of its noise",
    ),
)

RULES: tuple[PlasticityRuleSpec, ...] = (
    PlasticityRuleSpec(
        name="oja",
        factory="optix_neuroevo.plasticity.rules:Oja",
        summary="Hebb's product with a decay that bounds",
    ),
    PlasticityRuleSpec(
        name="hebb", factory="optix_neuroevo.plasticity.rules:Hebb", summary="Hebb's product, unbounded"
    ),
)

COMMANDS: tuple[CommandSpec, ...] = (
    CommandSpec(
        name="graph",
        factory="optix_neuroevo.showing.graph_cmd:run",
        help="show what became of a run's network, and why",
    ),
)
