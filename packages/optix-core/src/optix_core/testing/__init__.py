"""Does a component keep its contract? The conformance kit, and small things to test with.

One list of checks per kind of component, two ways to run them: a report (:func:`check_agent`) and a pytest class
(:class:`AgentConformance`).
Beside them tiny environments with known answers, scripted stand-ins, and an agent that learns without any framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports

if TYPE_CHECKING:
    from optix_core.testing.agents.front import AGENT_CHECKS as AGENT_CHECKS
    from optix_core.testing.agents.front import check_agent as check_agent
    from optix_core.testing.components import CALLBACK_CHECKS as CALLBACK_CHECKS
    from optix_core.testing.components import EVALUATOR_CHECKS as EVALUATOR_CHECKS
    from optix_core.testing.components import MUTATOR_CHECKS as MUTATOR_CHECKS
    from optix_core.testing.components import PIPELINE_CHECKS as PIPELINE_CHECKS
    from optix_core.testing.components import TUNER_CHECKS as TUNER_CHECKS
    from optix_core.testing.components import check_callback as check_callback
    from optix_core.testing.components import check_evaluator as check_evaluator
    from optix_core.testing.components import check_mutator as check_mutator
    from optix_core.testing.components import check_pipeline as check_pipeline
    from optix_core.testing.components import check_tuner as check_tuner
    from optix_core.testing.fakes import ScriptedAgent as ScriptedAgent
    from optix_core.testing.fakes import ScriptedEvaluator as ScriptedEvaluator
    from optix_core.testing.fakes import ScriptedPipeline as ScriptedPipeline
    from optix_core.testing.goal_grid import GoalGrid as GoalGrid
    from optix_core.testing.linear_agent import LinearAgent as LinearAgent
    from optix_core.testing.pytest_kit import AgentConformance as AgentConformance
    from optix_core.testing.pytest_kit import CallbackConformance as CallbackConformance
    from optix_core.testing.pytest_kit import ConformanceWarning as ConformanceWarning
    from optix_core.testing.pytest_kit import EvaluatorConformance as EvaluatorConformance
    from optix_core.testing.pytest_kit import MutatorConformance as MutatorConformance
    from optix_core.testing.pytest_kit import PipelineConformance as PipelineConformance
    from optix_core.testing.pytest_kit import TunerConformance as TunerConformance
    from optix_core.testing.report import CheckResult as CheckResult
    from optix_core.testing.report import Report as Report
    from optix_core.testing.tiny_envs import ConstantReward as ConstantReward
    from optix_core.testing.tiny_envs import SeenAs as SeenAs
    from optix_core.testing.tiny_envs import SpaceProbe as SpaceProbe
    from optix_core.testing.tiny_envs import StayOrLeave as StayOrLeave
    from optix_core.testing.tiny_envs import TinyBox as TinyBox
    from optix_core.testing.tiny_envs import TinyDiscrete as TinyDiscrete
    from optix_core.testing.tiny_envs import TinyMasked as TinyMasked
    from optix_core.testing.tiny_envs import TinyRecall as TinyRecall
    from optix_core.testing.tiny_graph import TinyGraph as TinyGraph

_MODULES = {
    ".agents.front": ("AGENT_CHECKS", "check_agent"),
    ".components": (
        *("CALLBACK_CHECKS", "EVALUATOR_CHECKS", "MUTATOR_CHECKS", "PIPELINE_CHECKS", "TUNER_CHECKS"),
        *("check_callback", "check_evaluator", "check_mutator", "check_pipeline", "check_tuner"),
    ),
    ".fakes": ("ScriptedAgent", "ScriptedEvaluator", "ScriptedPipeline"),
    ".goal_grid": ("GoalGrid",),
    ".linear_agent": ("LinearAgent",),
    ".pytest_kit": (
        *("AgentConformance", "CallbackConformance", "ConformanceWarning", "EvaluatorConformance"),
        *("MutatorConformance", "PipelineConformance", "TunerConformance"),
    ),
    ".report": ("CheckResult", "Report"),
    ".tiny_envs": (
        "ConstantReward",
        "SeenAs",
        "SpaceProbe",
        "StayOrLeave",
        "TinyBox",
        "TinyDiscrete",
        "TinyMasked",
        "TinyRecall",
    ),
    ".tiny_graph": ("TinyGraph",),
}

__getattr__, __dir__, __all__ = lazy_exports(
    __name__, {name: module for module, names in _MODULES.items() for name in names}
)
