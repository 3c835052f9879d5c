"""The components of optix-core itself, registered through the same hooks as everybody's.

This plugin is part of core: it is never a third party, and no switch turns it off (``OPTIX_PLUGINS=`` leaves
exactly it). Core has no agents, topology mutators or runners:
:class:`~optix_core.optimizer.Optimizer` is the loop itself; a runner replaces where its experience comes from.
"""

from __future__ import annotations

from optix_core.plugin import (
    API_VERSION,
    CallbackSpec,
    EnvProviderSpec,
    EvaluatorSpec,
    ExporterSpec,
    PipelineSpec,
    TunerSpec,
    hookimpl,
)

OPTIX_API = API_VERSION


@hookimpl
def optix_pipelines() -> list[PipelineSpec]:
    """Batch, vector and evaluation pipelines."""
    return [
        PipelineSpec(
            name="batch",
            factory="optix_core.pipelines.batch:BatchPipeline",
            summary="windows of a fixed number of steps from one environment",
        ),
        PipelineSpec(
            name="vector",
            factory="optix_core.pipelines.vector:VectorBatchPipeline",
            summary="windows from several environments stepped together, with batched acting",
            vectorized=True,
        ),
        PipelineSpec(
            name="evaluation",
            factory="optix_core.pipelines.evaluation:EvaluationPipeline",
            summary="complete greedy episodes on repeatable seeds, for validation",
        ),
    ]


@hookimpl
def optix_tuners() -> list[TunerSpec]:
    """Five that tune, one that replays, and none at all."""
    return [
        TunerSpec(
            name="spsa",
            factory="optix_core.tuners.spsa:SPSAOptimizer",
            summary="simultaneous perturbation: two probes for any number of hyperparameters",
            signal="paired",
        ),
        TunerSpec(
            name="momentum",
            factory="optix_core.tuners.momentum:MomentumOptimizer",
            summary="Adam on measured slopes, one hyperparameter at a time",
            signal="paired",
        ),
        TunerSpec(
            name="backoff",
            factory="optix_core.tuners.backoff:BackoffOptimizer",
            summary="one hyperparameter at a time: keep the probe, mirror it, or stay",
            signal="paired",
        ),
        TunerSpec(
            name="pbt",
            factory="optix_core.tuners.pbt:PBTOptimizer",
            summary="population-based training whose members are branches of one run",
            signal="paired",
        ),
        TunerSpec(
            name="adaptive",
            factory="optix_core.tuners.adaptive:AdaptiveOptimizer",
            summary="routes to spsa, momentum, backoff or pbt by what the scores look like",
            signal="paired",
        ),
        TunerSpec(
            name="replay",
            factory="optix_core.tuners.replay:ScheduleReplay",
            summary="puts a recorded run's hyperparameters in force at the same steps",
            signal="none",
        ),
        TunerSpec(
            name="fixed",
            factory="optix_core.tuners.fixed:FixedOptimizer",
            summary="hyperparameters stay as they are",
            signal="none",
        ),
    ]


@hookimpl
def optix_callbacks() -> list[CallbackSpec]:
    """Progress on the terminal, and loggers."""
    return [
        CallbackSpec(
            name="progress",
            factory="optix_core.callbacks.progress:ProgressCallback",
            summary="one line of progress that suits a terminal, a pipe or a notebook",
        ),
        CallbackSpec(
            name="rich",
            factory="optix_core.callbacks.rich_dashboard:RichDashboardCallback",
            summary="a dashboard in the terminal (needs optix-core[rich])",
        ),
        CallbackSpec(
            name="tensorboard",
            factory="optix_core.callbacks.tensorboard_callback:TensorBoardCallback",
            summary="curves for TensorBoard (needs optix-core[tensorboard])",
        ),
        CallbackSpec(
            name="wandb",
            factory="optix_core.callbacks.wandb_callback:WandbCallback",
            summary="curves for Weights & Biases (needs optix-core[wandb])",
        ),
    ]


@hookimpl
def optix_evaluators() -> list[EvaluatorSpec]:
    """Mean return of complete episodes."""
    return [
        EvaluatorSpec(
            name="mean_return",
            factory="optix_core.evaluators.mean_return:MeanReturnEvaluator",
            summary="mean return of the complete episodes, carried across window borders",
        )
    ]


@hookimpl
def optix_env_providers() -> list[EnvProviderSpec]:
    """Environments of core's own."""
    return [
        EnvProviderSpec(
            namespace="optix",
            register="optix_core.envs:register",
            summary="CartPole without velocities, for agents with memory",
        )
    ]


@hookimpl
def optix_exporters() -> list[ExporterSpec]:
    """ONNX, and a file that numpy runs."""
    return [
        ExporterSpec(
            name="onnx",
            format="onnx",
            factory="optix_core.export.exporters:export_onnx",
            summary="one ONNX graph from raw observations to actions, compared with the agent",
        ),
        ExporterSpec(
            name="numpy",
            format="numpy",
            factory="optix_core.export.exporters:export_numpy",
            summary="one file that numpy acts with, without any framework",
        ),
    ]
