"""What optix-neuroevo offers to optix; imports nothing heavy."""

from __future__ import annotations

from optix_core.plugin import (
    API_VERSION,
    AgentSpec,
    CommandSpec,
    GrowthGateSpec,
    MutatorSpec,
    NeuronTypeSpec,
    PlasticityRuleSpec,
    hookimpl,
)
from optix_neuroevo.neurons.specs import NEURON_TYPES
from optix_neuroevo.specs import AGENTS, COMMANDS, GATES, MUTATORS, RULES

OPTIX_API = API_VERSION


@hookimpl
def optix_agents() -> list[AgentSpec]:
    """PPO of graphs."""
    return list(AGENTS)


@hookimpl
def optix_topology_mutators() -> list[MutatorSpec]:
    """Growing, splitting, pruning, merging and rewiring."""
    return list(MUTATORS)


@hookimpl
def optix_neuron_types() -> list[NeuronTypeSpec]:
    """What neurons compute."""
    return list(NEURON_TYPES)


@hookimpl
def optix_growth_gates() -> list[GrowthGateSpec]:
    """Three signals, and gradients of what is missing."""
    return list(GATES)


@hookimpl
def optix_plasticity_rules() -> list[PlasticityRuleSpec]:
    """Oja's rule, and Hebb's."""
    return list(RULES)


@hookimpl
def optix_commands() -> list[CommandSpec]:
    """``optix graph``."""
    return list(COMMANDS)
