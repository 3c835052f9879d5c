"""The loop assembled from parts you bring: agent, pipeline and, if you like, evaluator, tuner and validation.

One class whose length is its signature, what its arguments mean, and to whom each of them goes:
:mod:`~optix_core.parts` makes the parts, :mod:`~optix_core.runs.run_place` the run's directory,
:mod:`~optix_core.search.warm_start` the search before it, and the loop does the work.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optix_core.diagnostics.choice import chosen_controller
from optix_core.errors import ConfigError
from optix_core.parts import GivenParts
from optix_core.runs.run_place import RunPlace
from optix_core.types import LoopState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from optix_core.base_agent import BaseAgent
    from optix_core.base_evaluator import BaseEvaluator
    from optix_core.base_optimizer import BaseOptimizer
    from optix_core.base_pipeline import BasePipeline
    from optix_core.loop.backoff_scheduler import BackoffScheduler
    from optix_core.loop.loop_controller import LoopController
    from optix_core.loop.result import RunResult
    from optix_core.loop_callback import LoopCallback
    from optix_core.parts import Parts
    from optix_core.search.orchestrator import TrialOrchestrator
    from optix_core.search.warm_start import FactorySearch, StartingPoint
    from optix_core.types import PolicySnapshot

DEFAULT_ROOT = "./optix_runs"
_ENDS_A_RUN = frozenset({"target_score", "keep_watching", "probe"})
"""Options of the state machine that trials of a search do not share: their budget alone ends them."""


class RLOptimizer:
    """Trains ``agent`` on ``pipeline`` until the loop itself decides that training is done.

    Every run gets a directory of its own below ``checkpoint_dir``; it holds the checkpoints and the decision log, and
    ``resume=True`` with ``run_dir`` continues it exactly.

    Args:
        agent: What learns. Alternatively ``agent_factory``, called once with an empty dict. Factories with a parameter
            named ``seed`` get the run's.
        pipeline: Where windows come from. Alternatively ``pipeline_factory``.
        evaluator: Scores windows; mean return of complete episodes by default.
        optimizer: The tuner: an object, a registered name such as ``"spsa"`` or ``"fixed"`` (no tuning), or
            None for SPSA over the
            agent's declared bounds.
        checkpoint_dir: Parent of the run's directory.
        max_snapshots: Checkpoints kept besides the best and the newest.
        val_pipeline: Episodes that decide. Alternatively ``val_pipeline_factory``.
        max_episodes: Windows to learn from at most.
        diagnostic_controller: Watches what learning reports, and gives first aid: an object with ``step``, or True for
            a :class:`~optix_core.diagnostics.controller.DiagnosticController` with the options ``diag_*``. Any of these
            that differs from its default switches it on, too.
        param_space: Search first: train ``n_trials`` agents from ``agent_factory(params)`` for a short while, then
            begin the run with the winner's hyperparameters and weights. Needs factories. For its forms see
            :mod:`optix_core.search.space`; ``"declared"``: what the agent declares as tunable.
        n_trials: Trials of that search.
        trial_steps_fraction: Environment steps of one trial as a share of the run's budget, in (0, 1].
        trial_agent_factory: Makes the agents of trials instead of ``agent_factory``.
        search_options: Further arguments of :class:`~optix_core.search.orchestrator.TrialOrchestrator`.
        warm_start: Begin with the winner's weights; False: with its hyperparameters only.
        durability: ``"power"``: checkpoints survive a power failure; ``"process"``: a killed process only, which is
            quicker.
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
        diag_loss_spike_factor: float = 5.0,
        diag_entropy_floor: float = 0.05,
        diag_target_kl: float = 0.02,
        diag_epsilon_patience: int = 20,
        diag_epsilon_reset_value: float = 0.3,
        diag_epsilon_score_threshold: float = 20.0,
        diag_min_episodes: int = 5,
        min_consecutive_degradations: int = 3,
        convergence_patience: int = 5,
        cv_threshold: float | None = None,
        gap_threshold: float = 0.20,
        target_score: float | None = None,
        agent_factory: Callable[..., BaseAgent] | None = None,
        pipeline_factory: Callable[..., BasePipeline] | None = None,
        param_space: Mapping[str, Any] | str | None = None,
        n_trials: int = 20,
        trial_steps_fraction: float = 0.01,
        val_pipeline_factory: Callable[..., BasePipeline] | None = None,
        trial_agent_factory: Callable[..., BaseAgent] | None = None,
        *,
        search_options: Mapping[str, Any] | None = None,
        warm_start: bool = True,
        durability: str = "power",
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
        self._evaluator = evaluator
        self._callbacks = list(callbacks or ())
        self._place = RunPlace(
            checkpoint_dir,
            run_dir,
            resume=resume,
            config=run_config or {},
            seed=seed,
            max_snapshots=max_snapshots,
            durability=durability,
        )
        self._scheduler_options: dict[str, Any] = {
            "base_interval": base_interval,
            "backoff_factor": backoff_factor,
            "max_interval_episodes": max_interval_episodes,
            "plateau_threshold": plateau_threshold,
            "dormant_threshold": dormant_threshold,
            "degradation_threshold": degradation_threshold,
            "min_degradation_drop": min_degradation_drop,
            "min_episodes_before_dormant": min_episodes_before_dormant,
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
            "diagnostic_controller": chosen_controller(
                diagnostic_controller,
                loss_spike_factor=diag_loss_spike_factor,
                entropy_floor=diag_entropy_floor,
                target_kl=diag_target_kl,
                epsilon_patience=diag_epsilon_patience,
                epsilon_reset_value=diag_epsilon_reset_value,
                epsilon_score_threshold=diag_epsilon_score_threshold,
                min_episodes=diag_min_episodes,
            ),
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
        self._given = GivenParts(
            agent=agent,
            agent_factory=agent_factory,
            pipeline=pipeline,
            pipeline_factory=pipeline_factory,
            val_pipeline=val_pipeline,
            val_pipeline_factory=val_pipeline_factory,
            tuner=optimizer,
            seed=seed,
        )
        self._parts: Parts | None = None
        self._start: StartingPoint | None = None
        self._search: FactorySearch | None = None
        if param_space is None:
            _refuse_search_arguments(
                n_trials=n_trials != 20,
                trial_steps_fraction=trial_steps_fraction != 0.01,
                trial_agent_factory=trial_agent_factory is not None,
                search_options=search_options is not None,
                warm_start=not warm_start,
            )
            self._assemble(self._given.the_agent())
            return
        if agent_factory is None or pipeline_factory is None or not agent is pipeline is val_pipeline is None:
            raise ConfigError(
                "param_space asks for a search over trials, each of which needs a new agent and new environments: give "
                "agent_factory, pipeline_factory and val_pipeline_factory instead of agent, pipeline and val_pipeline"
            )
        from optix_core.search.warm_start import FactorySearch

        shared = {k: v for k, v in self._scheduler_options.items() if k not in _ENDS_A_RUN}
        shared |= {"validation_share": validation_share, "rollback_on_degradation": rollback_on_degradation}
        self._search = FactorySearch(
            agent_factory,
            pipeline_factory,
            val_pipeline_factory,
            trial_agent_factory,
            param_space=param_space,
            n_trials=n_trials,
            trial_steps_fraction=trial_steps_fraction,
            max_steps=max_steps,
            max_windows=max_episodes,
            seed=seed,
            warm_start=warm_start,
            checkpoint_score_fn=checkpoint_score_fn,
            handle_signals=handle_signals,
            options=search_options or {},
            run_options=shared if evaluator is None else {**shared, "evaluator": evaluator},
        )

    @property
    def agent(self) -> BaseAgent:
        """The agent in training; after :meth:`run` it has the best weights.

        Raises:
            ConfigError: Before :meth:`run`, if a search chooses its hyperparameters first.
        """
        return self._assembled.agent

    @property
    def _assembled(self) -> Parts:
        if self._parts is None:
            raise ConfigError(
                "there is no agent yet: run() makes it with the hyperparameters that its search finds"
            )
        return self._parts

    @property
    def search(self) -> TrialOrchestrator | None:
        """The search over trials, with its report after :meth:`run`; None without ``param_space``."""
        return None if self._search is None else self._search.search

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
        return self._place.path

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
                if self._search is not None:
                    self._search.search.stop()
            else:
                self._controller.stop()

    def start_from(self, start: StartingPoint) -> None:
        """Give the agent the weights that a search found, before :meth:`run`; the decision log will say so.

        Raises:
            SearchError: They do not fit the agent.
            ConfigError: The agent has other hyperparameters than the search's winner.
        """
        start.give_to(self.agent)
        self._start = start

    def run(self) -> RunResult:
        """Search if asked to, then train until the loop stops; blocks.

        Returns:
            Why it stopped, the confirmed score with its interval, and where the run lies.

        Raises:
            SearchError: The search found nothing, or its weights do not fit.
            CheckpointLocked: Another process works on the same run directory.
            NumericalDivergence: Training diverged and restoring earlier weights did not help.
        """
        if self._search is not None and self._parts is None:
            self._assemble(self._searched_agent(self._search))
        with self._lock:
            controller = self._controller or self._build()
            self._controller = controller
            if self._stop_early:
                controller.stop()
                self._stop_early = False
            resume, self._place.resume = self._place.resume, False
        return controller.run(resume=resume)

    def _assemble(self, agent: BaseAgent) -> None:
        """Everything that needs the agent."""
        self._parts = self._given.around(agent)
        least = self._scheduler_options["min_episodes_before_dormant"]
        self._scheduler_options["min_episodes_before_dormant"] = max(
            least, type(agent).default_min_episodes_before_dormant
        )
        self.scheduler = self._make_scheduler()

    def _searched_agent(self, search: FactorySearch) -> BaseAgent:
        """The agent of the main run: the winner of a search, or for a run that is resumed, of the search it had."""
        from optix_core.search.warm_start import RECORD

        if self._place.resume:
            directory = self._place.stored()
            return search.again(directory.info, has_checkpoint=bool(directory.registry().snapshots()))
        agent, self._start = search.run()
        self._place.config[RECORD] = self._start.numbers
        return agent

    def _make_scheduler(self) -> BackoffScheduler:
        from optix_core.loop.backoff_scheduler import BackoffScheduler

        return BackoffScheduler(**self._scheduler_options)

    def _build(self) -> LoopController:
        from optix_core.evaluators.mean_return import MeanReturnEvaluator
        from optix_core.loop.loop_controller import LoopController

        parts, preset = self._assembled, self._place.config.get("preset")
        directory = self._place.open(parts.agent)
        registry = self._place.registry_of(directory)
        log = directory.log()
        if self._start is not None:
            log.write("warm_start", **self._start.numbers)
        return LoopController(
            parts.agent,
            self._evaluator or MeanReturnEvaluator(),
            parts.tuner,
            parts.pipeline,
            registry,
            self.scheduler,
            callbacks=self._callbacks,
            val_pipeline=parts.val_pipeline,
            decision_log=log,
            started_with={"preset": preset} if "preset" in self._place.config else None,
            **self._loop_options,
        )


def _refuse_search_arguments(**given: bool) -> None:
    for name, is_given in given.items():
        if is_given:
            raise ConfigError(
                f"{name} belongs to the search over trials, which is made when param_space is given"
            )
