"""The autonomous loop: collect, learn, evaluate, decide, act on the decision, tell everybody.

All judgement is in :mod:`~optix_core.loop.transition`; what follows from a judgement is carried out in
:mod:`~optix_core.loop.cycle`. How a run begins and ends is in :mod:`~optix_core.loop.beginning` and
:mod:`~optix_core.loop.finishing`. This module holds the parts together and decides when the run is over; most of its
length is the description of its arguments. No algorithm, hyperparameter or framework name occurs in this package.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from optix_core.base_agent import CompanionCallbacks
from optix_core.loop.beginning import begin
from optix_core.loop.branching import Interrupted, can_branch
from optix_core.loop.cycle import WindowCycle
from optix_core.loop.dispatch import CallbackDispatcher
from optix_core.loop.dormancy import Dormancy
from optix_core.loop.finishing import close, finish, salvage
from optix_core.loop.signals import StopOnSignal
from optix_core.loop.stop_reason import StopReason
from optix_core.loop.storage import RunStorage
from optix_core.loop.training import Budget, Progress, WindowTrainer
from optix_core.loop.tuning import TuningDriver
from optix_core.loop.validation import Validator
from optix_core.loop.verbose import VerboseWriter
from optix_core.runs.decision_log import LogEvent
from optix_core.types import LoopState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from optix_core.base_agent import BaseAgent
    from optix_core.base_evaluator import BaseEvaluator
    from optix_core.base_optimizer import BaseOptimizer
    from optix_core.base_pipeline import BasePipeline
    from optix_core.checkpoints.registry import CheckpointRegistry
    from optix_core.loop.backoff_scheduler import BackoffScheduler
    from optix_core.loop.cycle import Stop
    from optix_core.loop.result import RunResult
    from optix_core.loop_callback import LoopCallback
    from optix_core.runs.decision_log import DecisionLog
    from optix_core.types import EvalMetrics, PolicySnapshot

logger = logging.getLogger("optix.loop")

HISTORY = 500
"""Evaluations kept for tuners."""


class LoopController:
    """Runs the loop over parts that it knows only by their contracts.

    Args:
        agent: What learns.
        evaluator: Turns windows into scores.
        optimizer: Tunes hyperparameters while training; None for fixed ones.
        pipeline: Produces training windows.
        checkpoint_registry: Where policies and the state of the run are stored.
        backoff_scheduler: Holds the state machine; see there for its thresholds.
        rollback_on_degradation: Restore the best policy (weights, optimizer, hyperparameters, normalisers) on a
            confirmed drop. None: if drops are measured on validation episodes and the agent has ``state_dict``.
        improvement_margin: By how much a score must exceed the best to count as better, in units of the score.
        max_episodes: Windows to learn from at most.
        callbacks: Observers.
        val_pipeline: Episodes that decide; without one, the training windows' own scores do.
        score_smoothing: How many of the newest scores are averaged before they are compared with the best
            for degradation.
        checkpoint_score_fn: ``agent -> float``; replaces the score when policies are compared for storage.
            It may act freely:
            whatever acting changes is put back.
        verbose: Print every evaluated window.
        verbose_log_file: Write that to a file instead.
        diagnostic_controller: Object with ``step(window, agent, diagnostics)``, called after every window but those of
            experiments; returns pairs (rule, text) for the log.
        min_consecutive_degradations: Evaluations in a row that must show the drop.
        convergence_patience: Evaluations in a row that must reach ``target_score``.
        cv_threshold, gap_threshold: See :class:`~optix_core.loop.backoff_scheduler.BackoffScheduler`.
        target_score: Stop when it is reached.
        max_steps: Environment steps to learn from at most, met exactly where the pipeline can.
        max_seconds: Run time at most, checked between windows.
        validation_share: Validation steps allowed per training step.
        probe_windows: Windows per arm of the probe before convergence is declared; 0 switches the probe off.
        confirm_episodes: Fresh episodes on which the best candidates are compared at the end; 0 switches it off.
        checkpoint_every: Windows between checkpoints that allow resuming (improvements are stored besides).
        decision_log: Where every decision goes with its numbers.
        started_with: Facts that the log's first line is to hold besides the budget and the hyperparameters.
        handle_signals: Stop cleanly on SIGINT, SIGTERM and SIGHUP (main thread only).
        strict_callbacks: Raise the exceptions of observers too.
    """

    def __init__(
        self,
        agent: BaseAgent,
        evaluator: BaseEvaluator,
        optimizer: BaseOptimizer | None,
        pipeline: BasePipeline,
        checkpoint_registry: CheckpointRegistry,
        backoff_scheduler: BackoffScheduler,
        rollback_on_degradation: bool | None = None,
        improvement_margin: float = 0.0,
        max_episodes: int | None = None,
        callbacks: Iterable[LoopCallback] | None = None,
        val_pipeline: BasePipeline | None = None,
        score_smoothing: int = 2,
        checkpoint_score_fn: Callable[[BaseAgent], float] | None = None,
        verbose: bool = False,
        verbose_log_file: str | None = None,
        diagnostic_controller: Any = None,
        min_consecutive_degradations: int = 3,
        convergence_patience: int = 5,
        cv_threshold: float = 0.05,
        gap_threshold: float = 0.20,
        target_score: float | None = None,
        *,
        max_steps: int | None = None,
        max_seconds: float | None = None,
        validation_share: float = 0.5,
        probe_windows: int = 4,
        confirm_episodes: int = 50,
        checkpoint_every: int = 5,
        decision_log: DecisionLog | None = None,
        started_with: Mapping[str, Any] | None = None,
        handle_signals: bool = True,
        strict_callbacks: bool = False,
    ) -> None:
        self.agent = agent
        self.pipeline = pipeline
        self.evaluator = evaluator
        self.registry = checkpoint_registry
        self.decision_log = decision_log
        self._started_with = dict(started_with or {})
        self.scheduler = backoff_scheduler
        self.scheduler.configure(
            improvement_margin=improvement_margin,
            score_smoothing=score_smoothing,
            min_consecutive_degradations=min_consecutive_degradations,
            convergence_patience=convergence_patience,
            cv_threshold=cv_threshold,
            gap_threshold=gap_threshold,
            target_score=target_score,
        )
        self.progress = Progress()
        self.budget = Budget(max_steps=max_steps, max_windows=max_episodes, max_seconds=max_seconds)
        self.trainer = WindowTrainer(agent, pipeline, self.progress, self.budget)
        self.validator = (
            None if val_pipeline is None else Validator(val_pipeline, evaluator, share=validation_share)
        )
        self.callbacks = CallbackDispatcher(
            callbacks or (), strict=strict_callbacks, on_fault=self._callback_fault
        )
        self.history: deque[EvalMetrics] = deque(maxlen=HISTORY)
        self.tuning = TuningDriver(self, optimizer, probe_windows=probe_windows)
        self.dormancy = Dormancy(self)
        self.storage = RunStorage(self)
        self._verbose = VerboseWriter(enabled=verbose, path=verbose_log_file)
        self.cycle = WindowCycle(
            self,
            self._verbose,
            rollback=self._rolls_back(rollback_on_degradation),
            checkpoint_every=checkpoint_every,
            checkpoint_score_fn=checkpoint_score_fn,
            diagnostic_controller=diagnostic_controller,
        )
        self._confirm_episodes = confirm_episodes
        self._handle_signals = handle_signals
        self._signals = StopOnSignal(enabled=False)
        self._stop_requested = False
        self._companions_added = False
        self._unlogged = 0

    def _rolls_back(self, wanted: bool | None) -> bool:
        """Without a word from the user, a drop is undone where it is measured well and everything can be put back."""
        return can_branch(self.agent, self.validator) if wanted is None else wanted

    # ---------------------------------------------------------------- what others see

    @property
    def state(self) -> LoopState:
        """Where the state machine stands."""
        return self.scheduler.current_state

    @property
    def best_snapshot(self) -> PolicySnapshot | None:
        """The best stored policy."""
        return self.registry.best

    def stop(self) -> None:
        """Ask the loop to end after the window under way; safe from any thread and from callbacks.

        Before :meth:`run`, that run ends before its first window.
        """
        self._stop_requested = True

    @property
    def stop_requested(self) -> bool:
        """Whether :meth:`stop` was called or a signal came in."""
        return self._stop_requested or self._signals.received is not None

    def log(self, kind: str, **numbers: Any) -> None:
        """One event, with the present window and step: to the decision log, and to observers that listen to it."""
        window, step = self.progress.windows, self.progress.steps
        if self.decision_log is not None:
            event = self.decision_log.append(kind, window, step, **numbers)
        elif self.callbacks.listening:
            self._unlogged += 1
            event = LogEvent(self._unlogged, kind, window, step, time.time(), numbers)
        else:
            return
        self.callbacks.deliver(event)

    # ---------------------------------------------------------------- the run

    def run(self, *, resume: bool = False) -> RunResult:
        """Run until a stop; the agent then has the best weights.

        Teardown and ``on_loop_stop`` always happen. If several things fail, the first error is raised.

        Args:
            resume: Continue from the newest intact checkpoint of the registry, exactly; from the beginning if there
                is none yet.

        Raises:
            CheckpointLocked: Another process works in the registry's directory; nothing was changed.
            CheckpointError: The directory cannot hold a run, or the checkpoint belongs to another agent.
            NumericalDivergence: Updates or evaluations stayed non-finite after restoring earlier weights.
        """
        self._signals = StopOnSignal(enabled=self._handle_signals)
        with self.registry.lock(), self._signals, self._verbose:
            try:
                self._start(resume=resume)
                reason, message = self._loop()
                result = finish(
                    self,
                    reason,
                    message,
                    confirm_episodes=self._confirm_episodes,
                    signals=self._signals,
                )
            except BaseException as error:
                self.log("failed", error=f"{type(error).__name__}: {error}")
                salvage(self)
                for second in close(self):
                    logger.error("teardown after the failure also failed", exc_info=second)  # noqa: TRY400 - not the error in flight
                raise
            finally:
                self._stop_requested = False
            errors = close(self)
            for other in errors[1:]:
                logger.error("teardown also failed", exc_info=other)
            if errors:
                raise errors[0]
            return result

    def _start(self, *, resume: bool) -> None:
        self.registry.preflight(self.agent)
        self.callbacks.attach(self)
        if not self._companions_added:
            self._companions_added = True
            for part in (self.agent, self.pipeline):
                if isinstance(part, CompanionCallbacks):
                    for callback in part.companion_callbacks(self):
                        self.callbacks.add(callback)
        begin(self, resume=resume, started_with=self._started_with)
        self.callbacks.fire("on_loop_start")

    def _loop(self) -> Stop:
        while True:
            stop = self._finish_window()
            if stop is not None:
                return stop
            outside = self._outside_reason()
            if outside is not None:
                return self._because(outside)
            if not self.trainer.can_collect():
                spent = StopReason.MAX_WINDOWS if self.trainer.windows_left() < 1 else StopReason.MAX_STEPS
                return self._because(spent)
            window = self.trainer.train()
            if window is None:
                return self._because(self._outside_reason() or StopReason.SOURCE_ENDED)
            stop = self.cycle.first_half(window)
            if stop is not None:
                return stop

    def _finish_window(self) -> Stop | None:
        """The second half of the window before, if there is one."""
        pending = self.storage.pending
        if pending is None:
            return None
        border = self.storage.training_state()
        try:
            return self.cycle.second_half(pending)
        except Interrupted:
            self.storage.go_back_to(border)
            return self._because(self._outside_reason() or StopReason.SOURCE_ENDED)

    def _outside_reason(self) -> StopReason | None:
        if self._signals.received is not None:
            return StopReason.SIGNAL
        return StopReason.REQUESTED if self._stop_requested else None

    def _because(self, reason: StopReason) -> Stop:
        numbers = {
            "windows": self.progress.windows,
            "steps": self.progress.steps,
            "max_steps": self.budget.max_steps,
            "max_windows": self.budget.max_windows,
            "signal": self._signals.received,
        }
        return reason, reason.sentence(numbers)

    def _callback_fault(self, name: str, event: str, error: Exception, disabled: bool) -> None:
        self.log(
            "callback_failed",
            callback=name,
            event=event,
            error=f"{type(error).__name__}: {error}",
            disabled=disabled,
        )
