"""optix: you bring an environment, optix owns the training loop.

Everything public is importable from here, and nothing is imported before it is used: ``import optix_core`` loads
neither numpy nor any ML framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports
from optix_core._version import __version__ as __version__

if TYPE_CHECKING:
    from optix_core.base_agent import BaseAgent as BaseAgent
    from optix_core.base_evaluator import BaseEvaluator as BaseEvaluator
    from optix_core.base_optimizer import BaseOptimizer as BaseOptimizer
    from optix_core.base_pipeline import BasePipeline as BasePipeline
    from optix_core.callbacks.progress import ProgressCallback as ProgressCallback
    from optix_core.callbacks.rich_dashboard import RichDashboardCallback as RichDashboardCallback
    from optix_core.callbacks.tensorboard_callback import TensorBoardCallback as TensorBoardCallback
    from optix_core.callbacks.wandb_callback import WandbCallback as WandbCallback
    from optix_core.checkpoints.registry import CheckpointRegistry as CheckpointRegistry
    from optix_core.config import TrainConfig as TrainConfig
    from optix_core.config import apply_overrides as apply_overrides
    from optix_core.config import build_agent_from_config as build_agent_from_config
    from optix_core.config import config_to_dict as config_to_dict
    from optix_core.config import load_config as load_config
    from optix_core.diagnostics.controller import DiagnosticController as DiagnosticController
    from optix_core.errors import OptixError as OptixError
    from optix_core.evaluators.mean_return import MeanReturnEvaluator as MeanReturnEvaluator
    from optix_core.evolution.ensemble_agent import EnsembleAgent as EnsembleAgent
    from optix_core.evolution.meta_controller import MetaAction as MetaAction
    from optix_core.evolution.meta_controller import MetaController as MetaController
    from optix_core.evolution.policy_manager import PolicyManager as PolicyManager
    from optix_core.evolution.policy_manager_callback import PolicyManagerCallback as PolicyManagerCallback
    from optix_core.evolution.regime_detector import RegimeDetector as RegimeDetector
    from optix_core.exploration.rnd_pipeline import RNDPipeline as RNDPipeline
    from optix_core.factory import make_agent as make_agent
    from optix_core.factory import resolve_agent as resolve_agent
    from optix_core.loop.backoff_scheduler import BackoffScheduler as BackoffScheduler
    from optix_core.loop.loop_controller import LoopController as LoopController
    from optix_core.loop_callback import LoopCallback as LoopCallback
    from optix_core.normalizers import ObsNormalizer as ObsNormalizer
    from optix_core.normalizers import RewardNormalizer as RewardNormalizer
    from optix_core.normalizers import RunningMeanStd as RunningMeanStd
    from optix_core.optimizer import Optimizer as Optimizer
    from optix_core.pipelines.batch import BatchPipeline as BatchPipeline
    from optix_core.pipelines.evaluation import EvaluationPipeline as EvaluationPipeline
    from optix_core.pipelines.live.live_pipeline import LivePipeline as LivePipeline
    from optix_core.pipelines.vector import VectorBatchPipeline as VectorBatchPipeline
    from optix_core.plugins.registry import register_plugin as register_plugin
    from optix_core.replay.buffers import PrioritizedReplayBuffer as PrioritizedReplayBuffer
    from optix_core.replay.her_buffers import HERBuffer as HERBuffer
    from optix_core.replay.her_buffers import HERReplayBuffer as HERReplayBuffer
    from optix_core.rl.batching import make_minibatches as make_minibatches
    from optix_core.rl.returns import compute_gae as compute_gae
    from optix_core.rl.returns import generalized_advantage_estimation as generalized_advantage_estimation
    from optix_core.rl_optimizer import RLOptimizer as RLOptimizer
    from optix_core.search.orchestrator import TrialOrchestrator as TrialOrchestrator
    from optix_core.tuners.adaptive import AdaptiveOptimizer as AdaptiveOptimizer
    from optix_core.tuners.backoff import BackoffOptimizer as BackoffOptimizer
    from optix_core.tuners.fixed import FixedOptimizer as FixedOptimizer
    from optix_core.tuners.momentum import MomentumOptimizer as MomentumOptimizer
    from optix_core.tuners.pbt import PBTOptimizer as PBTOptimizer
    from optix_core.tuners.replay import ScheduleReplay as ScheduleReplay
    from optix_core.tuners.spsa import SPSAOptimizer as SPSAOptimizer
    from optix_core.types import EpisodeData as EpisodeData
    from optix_core.types import EpisodeRecord as EpisodeRecord
    from optix_core.types import EvalMetrics as EvalMetrics
    from optix_core.types import HyperparamSet as HyperparamSet
    from optix_core.types import LoopState as LoopState
    from optix_core.types import PolicySnapshot as PolicySnapshot
    from optix_core.window_size import optimal_window_size as optimal_window_size

_EXPORTS = {
    "AdaptiveOptimizer": ".tuners.adaptive",
    "BackoffOptimizer": ".tuners.backoff",
    "BackoffScheduler": ".loop.backoff_scheduler",
    "BaseAgent": ".base_agent",
    "BaseEvaluator": ".base_evaluator",
    "BaseOptimizer": ".base_optimizer",
    "BasePipeline": ".base_pipeline",
    "BatchPipeline": ".pipelines.batch",
    "CheckpointRegistry": ".checkpoints.registry",
    "DiagnosticController": ".diagnostics.controller",
    "EnsembleAgent": ".evolution.ensemble_agent",
    "EpisodeData": ".types",
    "EpisodeRecord": ".types",
    "EvalMetrics": ".types",
    "EvaluationPipeline": ".pipelines.evaluation",
    "FixedOptimizer": ".tuners.fixed",
    "HERBuffer": ".replay.her_buffers",
    "HERReplayBuffer": ".replay.her_buffers",
    "HyperparamSet": ".types",
    "LivePipeline": ".pipelines.live.live_pipeline",
    "LoopCallback": ".loop_callback",
    "LoopController": ".loop.loop_controller",
    "LoopState": ".types",
    "MeanReturnEvaluator": ".evaluators.mean_return",
    "MetaAction": ".evolution.meta_controller",
    "MetaController": ".evolution.meta_controller",
    "MomentumOptimizer": ".tuners.momentum",
    "ObsNormalizer": ".normalizers",
    "Optimizer": ".optimizer",
    "OptixError": ".errors",
    "PBTOptimizer": ".tuners.pbt",
    "PolicyManager": ".evolution.policy_manager",
    "PolicyManagerCallback": ".evolution.policy_manager_callback",
    "PolicySnapshot": ".types",
    "PrioritizedReplayBuffer": ".replay.buffers",
    "ProgressCallback": ".callbacks.progress",
    "RLOptimizer": ".rl_optimizer",
    "RNDPipeline": ".exploration.rnd_pipeline",
    "RegimeDetector": ".evolution.regime_detector",
    "RewardNormalizer": ".normalizers",
    "RichDashboardCallback": ".callbacks.rich_dashboard",
    "RunningMeanStd": ".normalizers",
    "SPSAOptimizer": ".tuners.spsa",
    "ScheduleReplay": ".tuners.replay",
    "TensorBoardCallback": ".callbacks.tensorboard_callback",
    "TrainConfig": ".config",
    "TrialOrchestrator": ".search.orchestrator",
    "VectorBatchPipeline": ".pipelines.vector",
    "WandbCallback": ".callbacks.wandb_callback",
    "apply_overrides": ".config",
    "build_agent_from_config": ".config",
    "compute_gae": ".rl.returns",
    "config_to_dict": ".config",
    "generalized_advantage_estimation": ".rl.returns",
    "load_config": ".config",
    "make_agent": ".factory",
    "make_minibatches": ".rl.batching",
    "optimal_window_size": ".window_size",
    "register_plugin": ".plugins.registry",
    "resolve_agent": ".factory",
}

__getattr__, __dir__, __all__ = lazy_exports(__name__, _EXPORTS)
