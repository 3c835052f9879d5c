"""The autonomous loop: collect, learn, evaluate, decide, act on the decision, tell everybody.

All judgement is in :mod:`~optix_core.loop.transition`; this module has the side effects. No algorithm,
hyperparameter or framework name occurs here.

One window is processed in two halves. The first collects, learns, evaluates, decides and stores; a checkpoint is taken at its end and
remembers what the second half still has to do (tune, probe, tell the callbacks). A resumed run therefore begins
with the second half of the window after which it was stored, and continues exactly.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections import deque
from typing import TYPE_CHECKING, Any

from optix_core.base_agent import CompanionCallbacks, DivergenceRecovery
from optix_core.errors import NumericalDivergence
from optix_core.loop.branching import Interrupted
from optix_core.loop.dispatch import CallbackDispatcher
from optix_core.loop.finishing import confirm, restore_best
from optix_core.loop.records import Action, Verdict, WindowReport
from optix_core.loop.result import RunResult
from optix_core.loop.signals import StopOnSignal
from optix_core.loop.stop_reason import StopReason
from optix_core.loop.training import Budget, Progress, TrainedWindow, WindowTrainer
from optix_core.loop.tuning import TuningDriver
from optix_core.loop.validation import Validator, undisturbed
from optix_core.loop.verbose import VerboseWriter
from optix_core.state import Stateful
from optix_core.types import EvalMetrics, HyperparamSet, LoopState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from optix_core.base_agent import BaseAgent
    from optix_core.base_evaluator import BaseEvaluator
    from optix_core.base_optimizer import BaseOptimizer
    from optix_core.base_pipeline import BasePipeline
    from optix_core.checkpoints.registry import CheckpointRegistry
    from optix_core.loop.backoff_scheduler import BackoffScheduler
    from optix_core.loop.records import Decision
    from optix_core.loop_callback import LoopCallback
    from optix_core.runs.decision_log import DecisionLog
    from optix_core.state import State
    from optix_core.types import PolicySnapshot

logger = logging.getLogger("optix.loop")

HISTORY = 500
"""Evaluations kept for tuners."""

MAX_RECOVERIES = 3
"""Restores after a diverged update before the run gives up."""


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
            confirmed drop.
        improvement_margin: By how much a score must exceed the best to count as better, in units of the score.
        max_episodes: Windows to learn from at most.
        callbacks: Observers.
        val_pipeline: Episodes that decide; without one, the training windows' own scores do.
        score_smoothing: How many of the newest scores are averaged before they are compared with the best for degradation.
        checkpoint_score_fn: ``agent -> float``; replaces the score when policies are compared for storage. It may act freely:
            whatever acting changes is put back.
        verbose: Print every evaluated window.
        verbose_log_file: Write that to a file instead.
        diagnostic_controller: Object with ``step(window, agent, diagnostics)``, called after every window.
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
        rollback_on_degradation: bool = False,
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
        handle_signals: bool = True,
        strict_callbacks: bool = False,
    ) -> None:
        self.agent = agent
        self.scheduler = backoff_scheduler
        self.registry = checkpoint_registry
        self._evaluator = evaluator
        self._pipeline = pipeline
        self._rollback = rollback_on_degradation
        self._checkpoint_score_fn = checkpoint_score_fn
        self._diagnostics = diagnostic_controller
        self._confirm_episodes = confirm_episodes
        self._checkpoint_every = checkpoint_every
        self._handle_signals = handle_signals
        self._log = decision_log
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
        self._trainer = WindowTrainer(agent, pipeline, self.progress, self.budget)
        self._validator = (
            None if val_pipeline is None else Validator(val_pipeline, evaluator, share=validation_share)
        )
        self.callbacks = CallbackDispatcher(callbacks or (), strict=strict_callbacks, on_fault=self._callback_fault)
        self.history: deque[EvalMetrics] = deque(maxlen=HISTORY)
        self._tuning = TuningDriver(self, optimizer, probe_windows=probe_windows)
        self._verbose = VerboseWriter(enabled=verbose, path=verbose_log_file)
        self._stop_requested = False
        self._pending: dict[str, Any] | None = None
        self._resumed_from: State | None = None
        self._recoveries = 0
        self._border: dict[str, State] | None = None

    # ---------------------------------------------------------------- what others see

    @property
    def state(self) -> LoopState:
        """Where the state machine stands."""
        return self.scheduler.current_state

    @property
    def best_snapshot(self) -> PolicySnapshot | None:
        """The best stored policy."""
        return self.registry.best

    @property
    def validator(self) -> Validator | None:
        """What validates, or None."""
        return self._validator

    @property
    def trainer(self) -> WindowTrainer:
        """What takes and learns from windows."""
        return self._trainer

    def stop(self) -> None:
        """Ask the loop to end after the window under way. Safe from any thread and from callbacks."""
        self._stop_requested = True

    @property
    def stop_requested(self) -> bool:
        """Whether :meth:`stop` was called or a signal came in."""
        return self._stop_requested or self._signals.received is not None

    def log(self, kind: str, **numbers: Any) -> None:
        """Write one event, with the present window and step, to the decision log."""
        if self._log is not None:
            self._log.write(kind, window=self.progress.windows, step=self.progress.steps, **numbers)

    # ---------------------------------------------------------------- the run

    def run(self) -> RunResult:
        """Run until a stop; the agent then has the best weights.

        Teardown and ``on_loop_stop`` always happen. If several things fail, the first error is raised.

        Raises:
            NumericalDivergence: Updates or evaluations stayed non-finite after restoring earlier weights.
        """
        self._stop_requested = False
        self._border = None
        self._signals = StopOnSignal(enabled=self._handle_signals)
        with self.registry.lock(), self._signals, self._verbose:
            try:
                self._start()
                reason, message = self._loop()
                result = self._finish(reason, message)
            except BaseException as error:
                self.log("failed", error=f"{type(error).__name__}: {error}")
                self._after_failure()
                for second in self._close():
                    logger.error("teardown after the failure also failed", exc_info=second)
                raise
            errors = self._close()
            for other in errors[1:]:
                logger.error("teardown also failed", exc_info=other)
            if errors:
                raise errors[0]
            return result

    _signals: StopOnSignal = StopOnSignal(enabled=False)

    def resume_from(self, training: Mapping[str, Any]) -> None:
        """Let the next :meth:`run` continue from the ``training`` state of a checkpoint (the agent's own state is loaded apart)."""
        self._resumed_from = dict(training)

    def training_state(self) -> dict[str, State]:
        """Everything besides the agent that a resumed run needs, by component."""
        parts: dict[str, State] = {
            "loop": {
                "scheduler": self.scheduler.state_dict(),
                "progress": self.progress.state_dict(),
                "history": [_metrics_to_state(m) for m in self.history],
                "pending": self._pending,
                "recoveries": self._recoveries,
                "log_seq": None if self._log is None else self._log.last_seq,
            },
            "tuning": self._tuning.state_dict(),
        }
        if self._validator is not None:
            parts["validation"] = self._validator.state_dict()
        for name, part in (("pipeline", self._pipeline), ("evaluator", self._evaluator)):
            if isinstance(part, Stateful):
                parts[name] = part.state_dict()
        callbacks = {str(i): c.state_dict() for i, c in enumerate(self.callbacks) if isinstance(c, Stateful)}
        if callbacks:
            parts["callbacks"] = callbacks
        return parts

    def _start(self) -> None:
        if isinstance(self.agent, CompanionCallbacks):
            for callback in self.agent.companion_callbacks(self):
                self.callbacks.add(callback)
        self._pipeline.set_agent(self.agent)
        self._pipeline.setup()
        if self._validator is not None:
            self._validator.setup(self.agent)
        if self._resumed_from is not None:
            self._load_training_state(self._resumed_from)
            self._resumed_from = None
            self.log("resumed")
        else:
            self.log("started", budget=dataclasses.asdict(self.budget), hyperparams=self.agent.get_hyperparams().params)
            if self.registry.best is None:
                # So that there is something to go back to if the very first updates diverge.
                self._save("start", EvalMetrics(math.nan, {}, -1))
        self.callbacks.fire("on_loop_start")

    def _load_training_state(self, training: Mapping[str, Any]) -> None:
        loop = training["loop"]
        for name, part in (("pipeline", self._pipeline), ("evaluator", self._evaluator)):
            if name in training and isinstance(part, Stateful):
                part.load_state_dict(training[name])
        if self._validator is not None and "validation" in training:
            self._validator.load_state_dict(training["validation"])
        for i, callback in enumerate(self.callbacks):
            if isinstance(callback, Stateful) and str(i) in training.get("callbacks", {}):
                callback.load_state_dict(training["callbacks"][str(i)])
        self._tuning.load_state_dict(training["tuning"])
        self.scheduler.load_state_dict(loop["scheduler"])
        self.progress.load_state_dict(loop["progress"])
        self.history.extend(_metrics_from_state(m) for m in loop["history"])
        self._pending = loop["pending"]
        self._recoveries = int(loop["recoveries"])
        if self._log is not None and loop["log_seq"] is not None:
            self._log.truncate_after(int(loop["log_seq"]))

    def _loop(self) -> tuple[StopReason, str]:
        while True:
            if self._pending is not None:
                border = self.training_state()
                try:
                    stop = self._second_half(self._pending)
                except Interrupted:
                    self._go_back_to(border)
                    return self._because(self._outside_reason() or StopReason.SOURCE_ENDED)
                self._pending = None
                if stop is not None:
                    return stop
            outside = self._outside_reason()
            if outside is not None:
                return self._because(outside)
            if not self._trainer.can_collect():
                return self._because(
                    StopReason.MAX_WINDOWS if self._trainer.windows_left() < 1 else StopReason.MAX_STEPS
                )
            window = self._trainer.train()
            if window is None:
                return self._because(StopReason.SOURCE_ENDED)
            stop = self._first_half(window)
            if stop is not None:
                return stop

    def _outside_reason(self) -> StopReason | None:
        if self._signals.received is not None:
            return StopReason.SIGNAL
        return StopReason.REQUESTED if self._stop_requested else None

    def _go_back_to(self, border: dict[str, State]) -> None:
        """Forget an interrupted experiment: counters, validator and tuner as before it, so that a resumed run repeats it."""
        self.progress.load_state_dict(border["loop"]["progress"])
        self._tuning.load_state_dict(border["tuning"])
        if self._validator is not None:
            self._validator.load_state_dict(border["validation"])
        self._border = border

    def _because(self, reason: StopReason) -> tuple[StopReason, str]:
        numbers = {
            "windows": self.progress.windows,
            "steps": self.progress.steps,
            "max_steps": self.budget.max_steps,
            "max_windows": self.budget.max_windows,
            "signal": self._signals.received,
        }
        return reason, reason.sentence(numbers)

    # ---------------------------------------------------------------- one window

    def _first_half(self, window: TrainedWindow) -> tuple[StopReason, str] | None:
        self.observe_window(window)
        metrics, evaluated = self._evaluate(window)
        candidate = self._checkpoint_score(metrics) if evaluated else None
        decision = self.scheduler.step(self._report(window, metrics if evaluated else None, candidate))
        if evaluated:
            self._record(decision, metrics)
            self.history.append(metrics)
        actions = decision.actions
        if window.diverged:
            self._recover(window.diverged)
        elif Action.ROLL_BACK in actions:
            self._roll_back()
        self._pending = {
            "metrics": _metrics_to_state(metrics) if evaluated else None,
            "actions": sorted(action.name for action in actions),
            "window": window.data.episode_id,
            "events": self._events_of(decision),
        }
        if Action.SAVE_BEST in actions:
            best = metrics if candidate is None else dataclasses.replace(metrics, primary_score=candidate)
            self._save("improvement", best)
        elif self.progress.windows % self._checkpoint_every == 0 and not window.diverged:
            self._save("periodic", dataclasses.replace(metrics, primary_score=math.nan))
        if decision.stop is not None:
            if decision.stop.is_error:
                raise NumericalDivergence(decision.stop_sentence or decision.stop.name)
            told = [name for name in self._pending["actions"] if name == Action.SAVE_BEST.name]
            self._second_half({**self._pending, "actions": told})
            self._pending = None
            return decision.stop, decision.stop_sentence or ""
        return None

    def _second_half(self, pending: Mapping[str, Any]) -> tuple[StopReason, str] | None:
        stop: tuple[StopReason, str] | None = None
        metrics = None if pending["metrics"] is None else _metrics_from_state(pending["metrics"])
        actions = {Action[name] for name in pending["actions"]}
        if Action.SAVE_BEST in actions and self.registry.best is not None:
            self._tuning.on_improvement()
            self.callbacks.fire("on_improvement", self.registry.best)
        for name in pending["events"]:
            self._fire_state_event(name, pending["window"], metrics)
        if Action.PROBE in actions:
            decision = self._tuning.probe()
            self._record(decision, metrics)
            for name in self._events_of(decision):
                self._fire_state_event(name, pending["window"], metrics)
            if decision.stop is not None:
                stop = decision.stop, decision.stop_sentence or ""
        elif Action.TUNE in actions:
            self._tuning.tune()
        self.callbacks.fire("on_episode_end", pending["window"], metrics)
        return stop

    def observe_window(self, window: TrainedWindow) -> None:
        """Log one trained window, in the main line or in a branch, and let diagnostics see it."""
        numbers = {k: v for k, v in window.diagnostics.items() if isinstance(v, int | float) and not isinstance(v, bool)}
        returns = [e.episode_return for e in window.data.episodes]
        mean = sum(returns) / len(returns) if returns else None
        self.log("window", train_return=mean, episodes=len(returns), diagnostics=numbers)
        if self._diagnostics is not None:
            for rule, text in self._diagnostics.step(window.data.episode_id, self.agent, dict(window.diagnostics)) or ():
                self.log("diagnostic", rule=str(rule), text=str(text))

    def _evaluate(self, window: TrainedWindow) -> tuple[EvalMetrics, bool]:
        """The window's metrics, and whether they decide anything."""
        train = self._evaluator.score(window.data, window.diagnostics)
        if self._validator is None:
            return train, True
        if window.diverged or not self._validator.due(self.progress.steps):
            return train, False
        validation = self._validator.measure(self._validator.next_index())
        return self._evaluator.combine(train, validation), True

    def _checkpoint_score(self, metrics: EvalMetrics) -> float | None:
        if self._checkpoint_score_fn is None:
            return None
        with undisturbed(self.agent):
            score = float(self._checkpoint_score_fn(self.agent))
        metrics.metrics["checkpoint_score"] = score
        return score

    def _report(
        self, window: TrainedWindow, metrics: EvalMetrics | None, candidate: float | None
    ) -> WindowReport:
        return WindowReport(
            window=window.data.episode_id,
            score=None if metrics is None or _no_episode(metrics) else metrics.primary_score,
            checkpoint_score=candidate,
            score_se=None if metrics is None else _standard_error(metrics.episode_returns),
            probing=self._tuning.is_probing,
            can_roll_back=self._rollback and self.registry.best is not None,
            diverged=bool(window.diverged),
            steps=self.progress.steps,
            max_steps=self.budget.max_steps,
            windows=self.progress.windows,
            max_windows=self.budget.max_windows,
            episodes=self.progress.episodes,
            elapsed=self.progress.elapsed,
            max_seconds=self.budget.max_seconds,
            stop_requested=False,
        )

    def _record(self, decision: Decision, metrics: EvalMetrics | None) -> None:
        self.log("decision", train_score=None if metrics is None else metrics.metrics.get("train_score"), **decision.to_log())
        self._verbose.decision(self.progress, decision, metrics)

    @staticmethod
    def _events_of(decision: Decision) -> list[str]:
        """Callback events of a decision; a state's event comes when it is entered, not while it lasts."""
        entered = [new for _, new, _ in decision.transitions]
        events = ["on_plateau"] if LoopState.COOLING in entered else []
        if LoopState.DORMANT in entered or LoopState.WATCHDOG in entered:
            events.append("on_dormant")
        if decision.verdict is Verdict.DEGRADED:
            events.append("on_degradation")
        return events

    def _fire_state_event(self, name: str, window: int, metrics: EvalMetrics | None) -> None:
        if name == "on_plateau":
            self._tuning.on_plateau()
            self.callbacks.fire(name, window, self.state)
        elif name == "on_dormant":
            self.callbacks.fire(name, window)
        elif metrics is not None:
            self.callbacks.fire(name, window, metrics)

    # ---------------------------------------------------------------- storing and restoring

    def _save(self, reason: str, metrics: EvalMetrics) -> PolicySnapshot | None:
        return self.registry.save(
            self.agent,
            metrics,
            self.agent.get_hyperparams(),
            training=self.training_state() if self._border is None else self._border,
            step=self.progress.steps,
            window=self.progress.windows,
            reason=reason,
        )

    def _roll_back(self) -> None:
        best = self.registry.best
        if best is None:
            return
        self._restore(best)
        self.log("rolled_back", snapshot=best.snapshot_id, score=best.eval_metrics.primary_score)

    def _restore(self, snapshot: PolicySnapshot) -> None:
        self.registry.load(self.agent, snapshot.snapshot_id)
        self.agent.set_hyperparams(HyperparamSet(dict(snapshot.hyperparams.params)))
        self._tuning.on_rollback()

    def _recover(self, names: Sequence[str]) -> None:
        """Go back to the newest good policy after a diverged update, or give up after too many."""
        self._recoveries += 1
        if self._recoveries > MAX_RECOVERIES:
            raise NumericalDivergence(
                f"window {self.progress.windows - 1}: {', '.join(names)} not finite, again after {MAX_RECOVERIES} restores of "
                "earlier weights. Lower the learning rate, clip gradients, or check the environment's rewards and observations "
                "for extreme values."
            )
        newest = self.registry.snapshots()[-1]
        self._restore(newest)
        changed = dict(self.agent.on_divergence()) if isinstance(self.agent, DivergenceRecovery) else {}
        self.log("diverged", diagnostics=list(names), restored=newest.snapshot_id, changed=changed)
        logger.warning("update diverged (%s); restored %s", ", ".join(names), newest.snapshot_id)

    # ---------------------------------------------------------------- the end

    def _finish(self, reason: StopReason, message: str) -> RunResult:
        last = self.history[-1] if self.history else EvalMetrics(math.nan, {}, self.progress.windows - 1)
        interrupted = reason in (StopReason.SIGNAL, StopReason.REQUESTED)
        # The state as it is, before the best weights replace it: this is what a resumed run continues from.
        self._save("signal" if interrupted else "final", dataclasses.replace(last, primary_score=math.nan))
        confirmation = None
        if self._validator is not None and self._confirm_episodes > 0 and not interrupted:
            confirmation = confirm(self.agent, self.registry, self._validator, self._confirm_episodes)
        snapshot = restore_best(self.agent, self.registry, confirmation)
        best = self.registry.best
        result = RunResult(
            stop_reason=reason,
            message=message,
            state=self.state,
            best_score=None if best is None else best.eval_metrics.primary_score,
            confirmation=confirmation,
            windows=self.progress.windows,
            steps=self.progress.steps,
            validation_steps=0 if self._validator is None else self._validator.steps,
            episodes=self.progress.episodes,
            elapsed=self.progress.elapsed,
            run_dir=str(self.registry.checkpoint_dir),
            snapshot_id=None if snapshot is None else snapshot.snapshot_id,
            signal=self._signals.received,
            callback_faults=self.callbacks.faults,
        )
        self.log(
            "interrupted" if interrupted else "finished",
            reason=reason.name.lower(),
            message=result.message,
            best_score=result.best_score,
            confirmation=None if confirmation is None else dataclasses.asdict(confirmation),
            snapshot=result.snapshot_id,
            validation_steps=result.validation_steps,
            elapsed=result.elapsed,
        )
        return result

    def _after_failure(self) -> None:
        """Leave the agent with the best weights if that is possible; never mask the error under way."""
        try:
            restore_best(self.agent, self.registry, None)
        except Exception:
            logger.exception("the best weights could not be restored after the failure above")

    def _close(self) -> list[Exception]:
        """Tear everything down, whatever fails on the way; returns the failures."""
        closers: list[Callable[[], None]] = [lambda: self.callbacks.fire("on_loop_stop"), self._pipeline.teardown]
        if self._validator is not None:
            closers.append(self._validator.teardown)
        errors: list[Exception] = []
        for close in closers:
            try:
                close()
            except Exception as error:  # noqa: BLE001 - handed to the caller, after the others had their turn
                errors.append(error)
        return errors

    def _callback_fault(self, name: str, event: str, error: Exception, disabled: bool) -> None:
        self.log("callback_failed", callback=name, event=event, error=f"{type(error).__name__}: {error}", disabled=disabled)


def _no_episode(metrics: EvalMetrics) -> bool:
    """Whether a NaN score only means that no episode was complete (an empty window, not a failed evaluation)."""
    return math.isnan(metrics.primary_score) and not metrics.episode_returns


def _standard_error(returns: Sequence[float]) -> float | None:
    n = len(returns)
    if n < 2:
        return None
    mean = math.fsum(returns) / n
    return math.sqrt(math.fsum((r - mean) ** 2 for r in returns) / (n - 1) / n)


def _metrics_to_state(metrics: EvalMetrics) -> State:
    return {
        "primary_score": metrics.primary_score,
        "metrics": {k: v for k, v in metrics.metrics.items() if isinstance(v, int | float | str | bool)},
        "episode_id": metrics.episode_id,
        "timestamp": metrics.timestamp,
        "episode_returns": list(metrics.episode_returns),
    }


def _metrics_from_state(state: Mapping[str, Any]) -> EvalMetrics:
    return EvalMetrics(
        primary_score=float(state["primary_score"]),
        metrics=dict(state["metrics"]),
        episode_id=int(state["episode_id"]),
        timestamp=float(state["timestamp"]),
        episode_returns=tuple(state["episode_returns"]),
    )
