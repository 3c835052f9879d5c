"""The loop assembled from parts you bring: agent, pipeline and, if you like, evaluator, tuner and validation."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from optix_core.errors import ConfigError
from optix_core.types import LoopState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from optix_core.base_agent import BaseAgent
    from optix_core.base_evaluator import BaseEvaluator
    from optix_core.base_optimizer import BaseOptimizer
    from optix_core.base_pipeline import BasePipeline
    from optix_core.loop.backoff_scheduler import BackoffScheduler
    from optix_core.loop.loop_controller import LoopController
    from optix_core.loop.result import RunResult
    from optix_core.loop_callback import LoopCallback
    from optix_core.runs.run_directory import RunDirectory
    from optix_core.types import ParamBounds, PolicySnapshot

T = TypeVar("T")

DEFAULT_ROOT = "./optix_runs"


@runtime_checkable
class BindableTuner(Protocol):
    """Tuners that let the loop fill in what their constructor was not given."""

    def bind(
        self,
        *,
        param_bounds: ParamBounds | None = None,
        log_params: Sequence[str] | None = None,
        seed: int | None = None,
    ) -> None:
        """Take what is missing; what was given stays."""
        ...


class RLOptimizer:
    """Trains ``agent`` on ``pipeline`` until the loop itself decides that training is done.

    Every run gets a directory of its own below ``checkpoint_dir``; it holds the checkpoints and the decision log, and
    ``resume=True`` with ``run_dir`` continues it exactly.

    Args:
        agent: What learns. Alternatively ``agent_factory``, called once with an empty dict.
        pipeline: Where windows come from. Alternatively ``pipeline_factory``.
        evaluator: Scores windows; mean return of complete episodes by default.
        optimizer: The tuner: an object, a registered name such as ``"spsa"`` or ``"fixed"`` (no tuning), or
            None for SPSA over the
            agent's declared bounds.
        checkpoint_dir: Parent of the run's directory.
        max_snapshots: Checkpoints kept besides the best and the newest.
        val_pipeline: Episodes that decide. Alternatively ``val_pipeline_factory``.
        max_episodes: Windows to learn from at most.
        loop_options: Thresholds of the state machine and options of the controller; see
            :class:`~optix_core.loop.config.LoopConfig` and :class:`~optix_core.loop.loop_controller.LoopController`.
        run_dir: Exactly this directory instead of a new one below ``checkpoint_dir``.
        resume: Continue the run in ``run_dir`` from its newest valid checkpoint, or from the beginning if it was
            killed before there was one.
        run_config: What to record in the run's ``run.json`` besides what is known here.
        seed: Root seed to record and to seed the tuner with.

    Raises:
        ConfigError: Parts are missing, or an option is unknown or cannot be combined.
    """

    def __init__(
        self,
        agent: BaseAgent | None = None,
        pipeline: BasePipeline | None = None,
        evaluator: BaseEvaluator | None = None,
        optimizer: BaseOptimizer | str | None = None,
        checkpoint_dir: str | Path = DEFAULT_ROOT,
        max_snapshots: int = 10,
        rollback_on_degradation: bool | None = None,
        improvement_margin: float = 0.0,
        max_episodes: int | None = None,
        base_interval: int = 1,
        backoff_factor: float = 2.0,
        max_interval_episodes: int = 100,
        plateau_threshold: int = 5,
        dormant_threshold: int = 20,
        degradation_threshold: float | None = None,
        min_degradation_drop: float | None = None,
        noise_k: float = 2.0,
        score_window: int = 20,
        trend_window: int = 8,
        min_episodes_before_dormant: int = 0,
        min_episodes_before_degradation: int = 5,
        callbacks: Iterable[LoopCallback] | None = None,
        val_pipeline: BasePipeline | None = None,
        score_smoothing: int = 2,
        checkpoint_score_fn: Callable[[BaseAgent], float] | None = None,
        verbose: bool = False,
        verbose_log_file: str | None = None,
        diagnostic_controller: Any = None,
        min_consecutive_degradations: int = 3,
        convergence_patience: int = 5,
        cv_threshold: float | None = None,
        gap_threshold: float = 0.20,
        target_score: float | None = None,
        agent_factory: Callable[[dict[str, Any]], BaseAgent] | None = None,
        pipeline_factory: Callable[[], BasePipeline] | None = None,
        param_space: Mapping[str, Any] | None = None,
        val_pipeline_factory: Callable[[], BasePipeline] | None = None,
        *,
        max_steps: int | None = None,
        max_seconds: float | None = None,
        delta: float | None = None,
        horizon: int | None = None,
        keep_watching: bool = False,
        validation_share: float = 0.5,
        probe_windows: int = 4,
        confirm_episodes: int = 50,
        checkpoint_every: int = 5,
        handle_signals: bool = True,
        strict_callbacks: bool = False,
        run_dir: str | Path | None = None,
        resume: bool = False,
        run_config: Mapping[str, Any] | None = None,
        seed: int | None = None,
    ) -> None:
        from optix_core.loop.branching import can_branch

        if param_space is not None:
            raise ConfigError(
                "param_space asks for a search over trials, which this version does not have. Leave it out and let "
                "the tuner change hyperparameters while training, or build the agent with the values you want."
            )
        self._agent = _one_of(
            "agent", agent, "agent_factory", None if agent_factory is None else lambda: agent_factory({})
        )
        self._pipeline = _one_of("pipeline", pipeline, "pipeline_factory", pipeline_factory)
        if val_pipeline is None and val_pipeline_factory is not None:
            val_pipeline = val_pipeline_factory()
        self._tuner = _tuner(optimizer, self._agent, seed, can_branch=can_branch(self._agent, val_pipeline))
        self._evaluator = evaluator
        self._val_pipeline = val_pipeline
        self._callbacks = list(callbacks or ())
        self._root = Path(checkpoint_dir)
        self._run_dir = None if run_dir is None else Path(run_dir)
        if resume and run_dir is None:
            raise ConfigError("resume=True needs run_dir, the directory of the run to continue")
        self._resume = resume
        self._run_config = dict(run_config or {})
        self._seed = seed
        self._max_snapshots = max_snapshots
        dormant = max(min_episodes_before_dormant, type(self._agent).default_min_episodes_before_dormant)
        self._scheduler_options: dict[str, Any] = {
            "base_interval": base_interval,
            "backoff_factor": backoff_factor,
            "max_interval_episodes": max_interval_episodes,
            "plateau_threshold": plateau_threshold,
            "dormant_threshold": dormant_threshold,
            "degradation_threshold": degradation_threshold,
            "min_degradation_drop": min_degradation_drop,
            "min_episodes_before_dormant": dormant,
            "min_episodes_before_degradation": min_episodes_before_degradation,
            "noise_k": noise_k,
            "score_window": score_window,
            "trend_window": trend_window,
            "improvement_margin": improvement_margin,
            "score_smoothing": score_smoothing,
            "min_consecutive_degradations": min_consecutive_degradations,
            "convergence_patience": convergence_patience,
            "cv_threshold": cv_threshold,
            "gap_threshold": gap_threshold,
            "target_score": target_score,
            "delta": delta,
            "horizon": horizon,
            "keep_watching": keep_watching,
            "probe": probe_windows > 0,
        }
        self._loop_options: dict[str, Any] = {
            "rollback_on_degradation": rollback_on_degradation,
            "max_episodes": max_episodes,
            "checkpoint_score_fn": checkpoint_score_fn,
            "verbose": verbose,
            "verbose_log_file": verbose_log_file,
            "diagnostic_controller": diagnostic_controller,
            "max_steps": max_steps,
            "max_seconds": max_seconds,
            "validation_share": validation_share,
            "probe_windows": probe_windows,
            "confirm_episodes": confirm_episodes,
            "checkpoint_every": checkpoint_every,
            "handle_signals": handle_signals,
            "strict_callbacks": strict_callbacks,
        }
        self.scheduler: BackoffScheduler = self._make_scheduler()
        self._lock = threading.Lock()
        self._stop_early = False
        self._controller: LoopController | None = None

    @property
    def agent(self) -> BaseAgent:
        """The agent in training; after :meth:`run` it has the best weights."""
        return self._agent

    @property
    def state(self) -> LoopState:
        """Where the state machine stands; ACTIVE before the run."""
        return self.scheduler.current_state

    @property
    def best_snapshot(self) -> PolicySnapshot | None:
        """The best stored policy, None before there is one."""
        return None if self._controller is None else self._controller.best_snapshot

    @property
    def controller(self) -> LoopController | None:
        """The loop itself; None before :meth:`run`."""
        return self._controller

    @property
    def run_dir(self) -> Path | None:
        """Where the run lies; None before :meth:`run` if no ``run_dir`` was given."""
        return self._run_dir

    def add_callback(self, callback: LoopCallback) -> None:
        """Let ``callback`` hear everything from now on, before or during a run."""
        self._callbacks.append(callback)
        if self._controller is not None:
            self._controller.callbacks.add(callback)

    def stop(self) -> None:
        """Ask the run to end after the window under way. Before :meth:`run`, the run ends before its first window."""
        with self._lock:
            if self._controller is None:
                self._stop_early = True
            else:
                self._controller.stop()

    def run(self) -> RunResult:
        """Train until the loop stops; blocks.

        Returns:
            Why it stopped, the confirmed score with its interval, and where the run lies.

        Raises:
            CheckpointLocked: Another process works on the same run directory.
            NumericalDivergence: Training diverged and restoring earlier weights did not help.
        """
        with self._lock:
            controller = self._controller or self._build()
            self._controller = controller
            if self._stop_early:
                controller.stop()
                self._stop_early = False
            resume, self._resume = self._resume, False
        return controller.run(resume=resume)

    def _make_scheduler(self) -> BackoffScheduler:
        from optix_core.loop.backoff_scheduler import BackoffScheduler

        return BackoffScheduler(**self._scheduler_options)

    def _build(self) -> LoopController:
        from optix_core.evaluators.mean_return import MeanReturnEvaluator
        from optix_core.loop.loop_controller import LoopController

        directory = self._open_run()
        registry = directory.registry(max_snapshots=self._max_snapshots)
        return LoopController(
            self._agent,
            self._evaluator or MeanReturnEvaluator(),
            self._tuner,
            self._pipeline,
            registry,
            self.scheduler,
            callbacks=self._callbacks,
            val_pipeline=self._val_pipeline,
            decision_log=directory.log(),
            started_with={"preset": self._run_config["preset"]} if "preset" in self._run_config else None,
            **self._loop_options,
        )

    def _open_run(self) -> RunDirectory:
        from optix_core.runs.run_directory import RunDirectory

        if self._resume:
            assert self._run_dir is not None
            return RunDirectory.open(self._run_dir)
        config = {
            "agent": getattr(self._agent, "optix_spec_info", {"class": type(self._agent).__name__}),
            **self._run_config,
        }
        if self._run_dir is None:
            directory = RunDirectory.create(self._root, config=config, seed=self._seed)
        else:
            directory = RunDirectory.create(
                self._run_dir.parent, name=self._run_dir.name, config=config, seed=self._seed
            )
        self._run_dir = directory.path
        return directory


def _one_of(name: str, value: T | None, factory_name: str, factory: Callable[[], T] | None) -> T:
    if value is not None and factory is not None:
        raise ConfigError(f"both {name} and {factory_name} are given; give one of them")
    if value is not None:
        return value
    if factory is None:
        raise ConfigError(f"neither {name} nor {factory_name} is given; the loop needs one of them")
    return factory()


def _tuner(
    choice: BaseOptimizer | str | None, agent: BaseAgent, seed: int | None, *, can_branch: bool
) -> BaseOptimizer | None:
    """The tuner to use; without a choice, SPSA over whatever the agent declares as tunable."""
    from optix_core.loop.tuning import ScheduledTuner

    bounds = dict(type(agent).default_param_bounds)
    logs = list(type(agent).default_log_params)
    if choice is not None and not isinstance(choice, str):
        if isinstance(choice, BindableTuner):
            choice.bind(param_bounds=bounds or None, log_params=logs or None, seed=seed)
        if isinstance(choice, ScheduledTuner):
            choice.check(agent)
        return choice
    name = choice or ("spsa" if bounds else "fixed")
    if name == "fixed":
        from optix_core.tuners.fixed import FixedOptimizer

        return FixedOptimizer()
    if not bounds:
        raise ConfigError(
            f"tuner {name!r} has nothing to tune: {type(agent).__name__} declares no default_param_bounds. Pass a "
            "tuner object with param_bounds, or optimizer='fixed'."
        )
    from optix_core.plugins.registry import default_registry

    if name == "replay":
        raise ConfigError(
            "tuner 'replay' needs the run to replay: pass optimizer=ScheduleReplay.from_run(path), or use "
            "optix train --replay-schedule RUN"
        )
    # Without branches the tuners of core can still probe in the windows of ordinary training.
    probing = {"spsa", "momentum", "backoff", "pbt", "adaptive"}
    options = {"mode": "two_probe"} if name in probing and not can_branch else {}
    tuner: BaseOptimizer = default_registry().create(
        "tuner", name, param_bounds=bounds, log_params=logs, **options
    )
    if isinstance(tuner, BindableTuner):
        tuner.bind(seed=seed)
    return tuner
