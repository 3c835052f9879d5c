"""Components by kind, with their types: ``registry.tuners()``, ``registry.pipeline("vector")``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar, cast

from optix_core.plugins.records import Component
from optix_core.plugins.specs import (
    AgentSpec,
    CallbackSpec,
    CommandSpec,
    ComponentSpec,
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

S = TypeVar("S", bound=ComponentSpec)


class Catalogue(ABC):
    """Typed look-ups over :meth:`components` and :meth:`find`."""

    @abstractmethod
    def components(self, kind: str | None = None) -> tuple[Component[ComponentSpec], ...]:
        """All components, or those of one kind."""

    @abstractmethod
    def find(self, kind: str, name: str) -> Component[ComponentSpec]:
        """The component of this kind and name."""

    def agents(self) -> tuple[Component[AgentSpec], ...]:
        """All agents."""
        return self._typed(AgentSpec)

    def pipelines(self) -> tuple[Component[PipelineSpec], ...]:
        """All pipelines."""
        return self._typed(PipelineSpec)

    def tuners(self) -> tuple[Component[TunerSpec], ...]:
        """All tuners."""
        return self._typed(TunerSpec)

    def callbacks(self) -> tuple[Component[CallbackSpec], ...]:
        """All callbacks."""
        return self._typed(CallbackSpec)

    def topology_mutators(self) -> tuple[Component[MutatorSpec], ...]:
        """All topology mutators."""
        return self._typed(MutatorSpec)

    def evaluators(self) -> tuple[Component[EvaluatorSpec], ...]:
        """All evaluators."""
        return self._typed(EvaluatorSpec)

    def exporters(self) -> tuple[Component[ExporterSpec], ...]:
        """All exporters."""
        return self._typed(ExporterSpec)

    def runners(self) -> tuple[Component[RunnerSpec], ...]:
        """All runners."""
        return self._typed(RunnerSpec)

    def env_providers(self) -> tuple[Component[EnvProviderSpec], ...]:
        """All environment providers."""
        return self._typed(EnvProviderSpec)

    def commands(self) -> tuple[Component[CommandSpec], ...]:
        """All verbs of the command line that plugins add."""
        return self._typed(CommandSpec)

    def neuron_types(self) -> tuple[Component[NeuronTypeSpec], ...]:
        """All types of neurons that plugins add."""
        return self._typed(NeuronTypeSpec)

    def growth_gates(self) -> tuple[Component[GrowthGateSpec], ...]:
        """All growth gates."""
        return self._typed(GrowthGateSpec)

    def plasticity_rules(self) -> tuple[Component[PlasticityRuleSpec], ...]:
        """All plasticity rules."""
        return self._typed(PlasticityRuleSpec)

    def agent(self, name: str) -> Component[AgentSpec]:
        """The agent called exactly ``name``; :func:`~optix_core.resolve_agent` chooses by algorithm and spaces."""
        return cast("Component[AgentSpec]", self.find("agent", name))

    def pipeline(self, name: str) -> Component[PipelineSpec]:
        """One pipeline; see :meth:`find`."""
        return cast("Component[PipelineSpec]", self.find("pipeline", name))

    def tuner(self, name: str) -> Component[TunerSpec]:
        """One tuner; see :meth:`find`."""
        return cast("Component[TunerSpec]", self.find("tuner", name))

    def callback(self, name: str) -> Component[CallbackSpec]:
        """One callback; see :meth:`find`."""
        return cast("Component[CallbackSpec]", self.find("callback", name))

    def topology_mutator(self, name: str) -> Component[MutatorSpec]:
        """One topology mutator; see :meth:`find`."""
        return cast("Component[MutatorSpec]", self.find("topology_mutator", name))

    def evaluator(self, name: str) -> Component[EvaluatorSpec]:
        """One evaluator; see :meth:`find`."""
        return cast("Component[EvaluatorSpec]", self.find("evaluator", name))

    def exporter(self, name: str) -> Component[ExporterSpec]:
        """One exporter; see :meth:`find`."""
        return cast("Component[ExporterSpec]", self.find("exporter", name))

    def runner(self, name: str) -> Component[RunnerSpec]:
        """One runner; see :meth:`find`."""
        return cast("Component[RunnerSpec]", self.find("runner", name))

    def env_provider(self, name: str) -> Component[EnvProviderSpec]:
        """One environment provider; see :meth:`find`."""
        return cast("Component[EnvProviderSpec]", self.find("env_provider", name))

    def command(self, name: str) -> Component[CommandSpec]:
        """One verb of the command line; see :meth:`find`."""
        return cast("Component[CommandSpec]", self.find("command", name))

    def neuron_type(self, name: str) -> Component[NeuronTypeSpec]:
        """One type of neurons; see :meth:`find`."""
        return cast("Component[NeuronTypeSpec]", self.find("neuron_type", name))

    def growth_gate(self, name: str) -> Component[GrowthGateSpec]:
        """One growth gate; see :meth:`find`."""
        return cast("Component[GrowthGateSpec]", self.find("growth_gate", name))

    def plasticity_rule(self, name: str) -> Component[PlasticityRuleSpec]:
        """One plasticity rule; see :meth:`find`."""
        return cast("Component[PlasticityRuleSpec]", self.find("plasticity_rule", name))

    def _typed(self, spec_type: type[S]) -> tuple[Component[S], ...]:
        return cast("tuple[Component[S], ...]", self.components(spec_type.kind))
