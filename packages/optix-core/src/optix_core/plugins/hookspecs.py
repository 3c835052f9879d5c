"""Which functions can a plugin offer?

Registration hooks take no arguments, import nothing heavy and return lists of specs. They are called once per plugin,
each in isolation; wrappers and None are refused, and one wrong item refuses the whole plugin. Call-time hooks are asked
while optix works. A hook implementation never gives its parameters defaults (pluggy 1.6 would not pass such arguments).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from optix_core.base_agent import BaseAgent
    from optix_core.plugins.protocol import AgentRequest, Check
    from optix_core.plugins.specs import (
        AgentSpec,
        CallbackSpec,
        CommandSpec,
        EnvProviderSpec,
        EvaluatorSpec,
        ExporterSpec,
        GrowthGateSpec,
        MutatorSpec,
        NeuronTypeSpec,
        PipelineSpec,
        PlasticityRuleSpec,
        RunnerSpec,
        TunerSpec,
    )

PROJECT = "optix"
"""The project name under which pluggy finds our markers."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

REGISTRATION_HOOKS: dict[str, str] = {
    "optix_agents": "agent",
    "optix_pipelines": "pipeline",
    "optix_tuners": "tuner",
    "optix_callbacks": "callback",
    "optix_topology_mutators": "topology_mutator",
    "optix_evaluators": "evaluator",
    "optix_exporters": "exporter",
    "optix_runners": "runner",
    "optix_env_providers": "env_provider",
    "optix_commands": "command",
    "optix_neuron_types": "neuron_type",
    "optix_growth_gates": "growth_gate",
    "optix_plasticity_rules": "plasticity_rule",
}
"""Registration hook to the kind of component it returns, in the order of listings."""

CALL_HOOKS = ("optix_select_agent", "optix_agent_created", "optix_doctor")
"""Hooks that are asked while optix works."""

HOOKS = (*REGISTRATION_HOOKS, *CALL_HOOKS)
"""Every hook there is."""


class Specs:
    """Signatures of all hooks; a plugin implements those it needs."""

    @hookspec
    def optix_agents(self) -> Iterable[AgentSpec]:  # pyright: ignore[reportReturnType]
        """Agents that ``make_agent`` can build."""

    @hookspec
    def optix_pipelines(self) -> Iterable[PipelineSpec]:  # pyright: ignore[reportReturnType]
        """Sources of windows."""

    @hookspec
    def optix_tuners(self) -> Iterable[TunerSpec]:  # pyright: ignore[reportReturnType]
        """Hyperparameter tuners."""

    @hookspec
    def optix_callbacks(self) -> Iterable[CallbackSpec]:  # pyright: ignore[reportReturnType]
        """Observers of the loop, loggers among them. Only those that the user names are used."""

    @hookspec
    def optix_topology_mutators(self) -> Iterable[MutatorSpec]:  # pyright: ignore[reportReturnType]
        """Changes of network topology."""

    @hookspec
    def optix_evaluators(self) -> Iterable[EvaluatorSpec]:  # pyright: ignore[reportReturnType]
        """Ways to score windows."""

    @hookspec
    def optix_exporters(self) -> Iterable[ExporterSpec]:  # pyright: ignore[reportReturnType]
        """Writers of trained policies."""

    @hookspec
    def optix_runners(self) -> Iterable[RunnerSpec]:  # pyright: ignore[reportReturnType]
        """Other ways to run a whole training."""

    @hookspec
    def optix_env_providers(self) -> Iterable[EnvProviderSpec]:  # pyright: ignore[reportReturnType]
        """Packages that register environments on demand."""

    @hookspec
    def optix_commands(self) -> Iterable[CommandSpec]:  # pyright: ignore[reportReturnType]
        """Verbs of the command line."""

    @hookspec
    def optix_neuron_types(self) -> Iterable[NeuronTypeSpec]:  # pyright: ignore[reportReturnType]
        """Types of neurons that networks which grow can be made of."""

    @hookspec
    def optix_growth_gates(self) -> Iterable[GrowthGateSpec]:  # pyright: ignore[reportReturnType]
        """Reasons to let a network grow."""

    @hookspec
    def optix_plasticity_rules(self) -> Iterable[PlasticityRuleSpec]:  # pyright: ignore[reportReturnType]
        """Local rules by which weights follow activity."""

    @hookspec(firstresult=True)
    def optix_select_agent(self, request: AgentRequest, candidates: Sequence[AgentSpec]) -> AgentSpec | None:
        """Choose one of ``candidates``, all of which fit; None leaves the choice to others.

        Only plugins that the user has named are asked (in ``OPTIX_PLUGINS``, with ``-p``, by ``register_plugin``), so
        that installing a package never changes what an existing call returns. The one hook that may be a wrapper.
        """

    @hookspec
    def optix_agent_created(self, agent: BaseAgent, spec: AgentSpec, request: AgentRequest) -> None:
        """An agent was built. A failure here is reported and stops nothing."""

    @hookspec
    def optix_doctor(self, deep: bool) -> Iterable[Check]:  # pyright: ignore[reportReturnType]
        """Self-diagnosis; may import what is heavy. Run by ``optix plugins doctor`` only, in a process of its own."""
