"""What plugin modules import, and all that they import.

A plugin module says what its distribution offers without importing a framework::

    from optix_core.plugin import AgentSpec, Hyper, hookimpl

    OPTIX_API = "1.0"


    @hookimpl
    def optix_agents():
        return [
            AgentSpec(
                name="MyPPO",
                algorithm="PPO",
                framework="torch",
                action_spaces=frozenset({"discrete"}),
                factory="my_package.agent:build",
                hyperparams=(
                    Hyper("learning_rate", 3e-4, low=0.0, low_open=True, tune=(1e-4, 3e-3), log=True),
                ),
            )
        ]

and its pyproject.toml names the module::

    [project.entry-points."optix_core.plugins"]
    my-package = "my_package.plugin"
"""

from __future__ import annotations

from optix_core.plugins.hookspecs import Specs as Specs
from optix_core.plugins.hookspecs import hookimpl as hookimpl
from optix_core.plugins.hyper import Hyper as Hyper
from optix_core.plugins.hyper import Option as Option
from optix_core.plugins.hyper import SpecError as SpecError
from optix_core.plugins.protocol import AgentContext as AgentContext
from optix_core.plugins.protocol import AgentFactory as AgentFactory
from optix_core.plugins.protocol import AgentRequest as AgentRequest
from optix_core.plugins.protocol import Check as Check
from optix_core.plugins.records import API_VERSION as API_VERSION
from optix_core.plugins.records import ENTRY_POINT_GROUP as ENTRY_POINT_GROUP
from optix_core.plugins.specs import AgentSpec as AgentSpec
from optix_core.plugins.specs import CallbackSpec as CallbackSpec
from optix_core.plugins.specs import CommandSpec as CommandSpec
from optix_core.plugins.specs import ComponentSpec as ComponentSpec
from optix_core.plugins.specs import EnvProviderSpec as EnvProviderSpec
from optix_core.plugins.specs import EvaluatorSpec as EvaluatorSpec
from optix_core.plugins.specs import ExporterSpec as ExporterSpec
from optix_core.plugins.specs import GrowthGateSpec as GrowthGateSpec
from optix_core.plugins.specs import MutatorSpec as MutatorSpec
from optix_core.plugins.specs import NeuronTypeSpec as NeuronTypeSpec
from optix_core.plugins.specs import PipelineSpec as PipelineSpec
from optix_core.plugins.specs import PlasticityRuleSpec as PlasticityRuleSpec
from optix_core.plugins.specs import RunnerSpec as RunnerSpec
from optix_core.plugins.specs import TunerSpec as TunerSpec

__all__ = [
    "API_VERSION",
    "ENTRY_POINT_GROUP",
    "AgentContext",
    "AgentFactory",
    "AgentRequest",
    "AgentSpec",
    "CallbackSpec",
    "Check",
    "CommandSpec",
    "ComponentSpec",
    "EnvProviderSpec",
    "EvaluatorSpec",
    "ExporterSpec",
    "GrowthGateSpec",
    "Hyper",
    "MutatorSpec",
    "NeuronTypeSpec",
    "Option",
    "PipelineSpec",
    "PlasticityRuleSpec",
    "RunnerSpec",
    "SpecError",
    "Specs",
    "TunerSpec",
    "hookimpl",
]
