"""What happens with one window, in two halves.

The first half learns, evaluates, decides, restores if need be, and stores. A checkpoint is taken at its end and
remembers what the second half still has to do: probe or tune, and tell the callbacks. A resumed run
therefore begins with the second
half of the window after which it was stored, and continues exactly.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from optix_core.errors import NumericalDivergence
from optix_core.loop import retreat
from optix_core.loop.records import Action, Verdict, WindowReport
from optix_core.loop.validation import undisturbed
from optix_core.stats.comparison import MIN_EPISODES, mean_interval
from optix_core.types import EvalMetrics, LoopState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from optix_core.base_agent import BaseAgent
    from optix_core.loop.loop_controller import LoopController
    from optix_core.loop.records import Decision
    from optix_core.loop.stop_reason import StopReason
    from optix_core.loop.training import TrainedWindow
    from optix_core.loop.verbose import VerboseWriter

Stop = tuple["StopReason", str]
"""Why the run ends, and the sentence for its user."""


class WindowCycle:
    """Carries out what follows from each window.

    Args:
        loop: The controller whose parts are used.
        verbose: Where the plain account of each window goes.
        rollback: Whether a confirmed drop restores the best policy.
        checkpoint_every: Windows between checkpoints that allow resuming.
        checkpoint_score_fn: See the controller.
        diagnostic_controller: See the controller.

    Attributes:
        diagnostics: The diagnostic controller, or None.
    """

    def __init__(
        self,
        loop: LoopController,
        verbose: VerboseWriter,
        *,
        rollback: bool,
        checkpoint_every: int,
        checkpoint_score_fn: Callable[[BaseAgent], float] | None,
        diagnostic_controller: Any,
    ) -> None:
        self._loop = loop
        self._verbose = verbose
        self._rollback = rollback
        self._checkpoint_every = checkpoint_every
        self._checkpoint_score_fn = checkpoint_score_fn
        self.diagnostics = diagnostic_controller
        self._told: dict[str, Any] = {}

    def tell_hyperparams(self, told: Mapping[str, Any]) -> None:
        """What the event stream says of the hyperparameters so far; from here on it is told what differs."""
        self._told = dict(told)

    def first_half(self, window: TrainedWindow) -> Stop | None:
        """Evaluate, decide, restore, store.

        Raises:
            NumericalDivergence: Updates or evaluations stayed non-finite.
        """
        loop = self._loop
        self.observe(window, branch=False)
        metrics, evaluated = self._evaluate(window)
        candidate = self._checkpoint_score(metrics) if evaluated else None
        decision = loop.scheduler.step(self._report(window, metrics if evaluated else None, candidate))
        if evaluated:
            self._record(decision, metrics)
            loop.history.append(metrics)
        if window.diverged:
            retreat.to_the_newest(loop, window.diverged)
        elif Action.ROLL_BACK in decision.actions:
            retreat.to_the_best(loop)
        if decision.stop is not None and decision.stop.is_error:
            raise NumericalDivergence(decision.stop_sentence or decision.stop.name)
        names = [action.name for action in decision.actions]
        pending = {
            "window": window.data.episode_id,
            "metrics": metrics.to_state() if evaluated else None,
            "events": events_of(decision),
            "actions": names if decision.stop is None else [n for n in names if n == Action.SAVE_BEST.name],
        }
        loop.storage.pending = pending
        if Action.SAVE_BEST in decision.actions:
            best = metrics if candidate is None else dataclasses.replace(metrics, primary_score=candidate)
            loop.storage.save("improvement", best)
        elif loop.progress.windows % self._checkpoint_every == 0 and not window.diverged:
            loop.storage.save("periodic", dataclasses.replace(metrics, primary_score=math.nan))
        if decision.stop is None:
            return None
        self.second_half(pending)
        return decision.stop, decision.stop_sentence or ""

    def second_half(self, pending: Mapping[str, Any]) -> Stop | None:
        """Tell the callbacks what happened, probe or tune.

        Raises:
            Interrupted: A stop was requested inside a probe or trial; the agent is as it was before it.
        """
        loop = self._loop
        stop: Stop | None = None
        metrics = None if pending["metrics"] is None else EvalMetrics.from_state(pending["metrics"])
        actions = {Action[name] for name in pending["actions"]}
        if Action.SAVE_BEST in actions and loop.registry.best is not None:
            loop.tuning.on_improvement()
            loop.callbacks.fire("on_improvement", loop.registry.best)
        self._fire(pending["events"], pending["window"], metrics)
        if Action.PROBE in actions:
            decision = loop.tuning.probe()
            self._record(decision, metrics)
            self._fire(events_of(decision), pending["window"], metrics)
            stop = _stop_of(decision)
            if Action.SPAWN in decision.actions:
                stop = self._after_convergence(pending["window"], metrics)
        elif Action.SPAWN in actions:
            stop = self._after_convergence(pending["window"], metrics)
        elif Action.TUNE in actions or (loop.tuning.is_probing and metrics is not None):
            # A probe is in force for one evaluated window, whatever the pace of new ones.
            loop.tuning.tune()
        loop.tuning.follow_schedule()
        loop.callbacks.fire("on_episode_end", pending["window"], metrics)
        loop.storage.pending = None
        return stop

    def _after_convergence(self, window: int, metrics: EvalMetrics | None) -> Stop | None:
        """Ask those who may let the run go on."""
        decision = self._loop.scheduler.step_dormant(self._loop.dormancy.ask(window))
        self._record(decision, metrics)
        return _stop_of(decision)

    def observe(self, window: TrainedWindow, *, branch: bool = True) -> None:
        """Log one trained window, of the main line or of a branch, and let diagnostics see it."""
        loop = self._loop
        numbers = {k: v for k, v in window.diagnostics.items() if isinstance(v, int | float)}
        returns = [episode.episode_return for episode in window.data.episodes]
        mean = math.fsum(returns) / len(returns) if returns else None
        more: dict[str, Any] = {"branch": True} if branch else {}
        if not branch:
            params = loop.agent.get_hyperparams().params
            changed = {k: v for k, v in params.items() if k not in self._told or self._told[k] != v}
            if changed:
                self._told |= changed
                more["hyperparams"] = changed
        loop.log(
            "window",
            train_return=mean,
            episodes=len(returns),
            diagnostics=numbers,
            elapsed=loop.progress.elapsed,
            **more,
        )
        for kind, facts in window.data.metadata.get("log", ()):  # what the pipeline has to say about it
            loop.log(kind, **facts)
        if self.diagnostics is not None and not branch and not loop.tuning.is_probing:
            self._diagnose(window, mean)

    def _diagnose(self, window: TrainedWindow, train_return: float | None) -> None:
        """Let the diagnostic controller act; in experiments it never does, for it would change what they measure."""
        loop = self._loop
        facts: dict[str, Any] = {"discrete_actions": window.data.actions.dtype.kind in "iub"}
        if train_return is not None:
            facts["score"] = train_return
        before = loop.agent.get_hyperparams().params
        firings = self.diagnostics.step(window.data.episode_id, loop.agent, facts | dict(window.diagnostics))
        for firing in firings or ():
            rule, text = firing
            changes = {
                name: getattr(firing, name) for name in ("param", "before", "after") if hasattr(firing, name)
            }
            loop.log("diagnostic", rule=str(rule), text=str(text), **changes)
        after = loop.agent.get_hyperparams().params
        if after != before:
            loop.callbacks.fire("on_hyperparam_update", before, after)

    def _evaluate(self, window: TrainedWindow) -> tuple[EvalMetrics, bool]:
        """The window's metrics, and whether they decide anything."""
        loop = self._loop
        train = loop.evaluator.score(window.data, window.diagnostics)
        if loop.validator is None:
            return train, True
        if window.diverged or not loop.validator.due(loop.progress.steps):
            return train, False
        validation = loop.validator.measure(loop.validator.next_index())
        return loop.evaluator.combine(train, validation), True

    def _checkpoint_score(self, metrics: EvalMetrics) -> float | None:
        if self._checkpoint_score_fn is None:
            return None
        with undisturbed(self._loop.agent):
            score = float(self._checkpoint_score_fn(self._loop.agent))
        metrics.metrics["checkpoint_score"] = score
        return score

    def _report(
        self, window: TrainedWindow, metrics: EvalMetrics | None, candidate: float | None
    ) -> WindowReport:
        loop = self._loop
        return WindowReport(
            window=window.data.episode_id,
            score=None if metrics is None or _no_episode(metrics) else metrics.primary_score,
            checkpoint_score=candidate,
            score_se=None if metrics is None else _standard_error(metrics.episode_returns),
            probing=loop.tuning.is_probing,
            can_roll_back=self._rollback and loop.registry.best is not None,
            diverged=bool(window.diverged),
            steps=loop.progress.steps,
            max_steps=loop.budget.max_steps,
            windows=loop.progress.windows,
            max_windows=loop.budget.max_windows,
            episodes=loop.progress.episodes,
            elapsed=loop.progress.elapsed,
            max_seconds=loop.budget.max_seconds,
            can_spawn=loop.dormancy.wanted,
        )

    def _record(self, decision: Decision, metrics: EvalMetrics | None) -> None:
        self._loop.log("decision", **_evaluation(decision, metrics), **decision.to_log())
        self._verbose.decision(self._loop.progress, decision, metrics)

    def _fire(self, events: Sequence[str], window: int, metrics: EvalMetrics | None) -> None:
        loop = self._loop
        for name in events:
            if name == "on_plateau":
                loop.tuning.on_plateau()
                loop.callbacks.fire(name, window, loop.state)
            elif name == "on_dormant":
                loop.callbacks.fire(name, window)
            elif metrics is not None:
                loop.callbacks.fire(name, window, metrics)


def _stop_of(decision: Decision) -> Stop | None:
    return None if decision.stop is None else (decision.stop, decision.stop_sentence or "")


def events_of(decision: Decision) -> list[str]:
    """Callback events of a decision; a state's event comes when it is entered, not while it lasts."""
    entered = [new for _, new, _ in decision.transitions]
    events = ["on_plateau"] if LoopState.COOLING in entered else []
    if LoopState.DORMANT in entered or LoopState.WATCHDOG in entered:
        events.append("on_dormant")
    if decision.verdict is Verdict.DEGRADED:
        events.append("on_degradation")
    return events


def _evaluation(decision: Decision, metrics: EvalMetrics | None) -> dict[str, Any]:
    """What the event stream keeps of an evaluation: the score's interval is that of the mean return behind it."""
    told: dict[str, Any] = {"train_score": None if metrics is None else metrics.metrics.get("train_score")}
    if metrics is None or decision.verdict is None:  # the answer to a probe is no new evaluation
        return told
    returns = metrics.episode_returns
    if len(returns) >= MIN_EPISODES and all(map(math.isfinite, returns)):
        interval = mean_interval(returns)
        told["interval"] = [interval.low, interval.high]
    told["evaluated_episodes"] = len(returns)
    told["metrics"] = {
        name: value
        for name, value in metrics.metrics.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return told


def _no_episode(metrics: EvalMetrics) -> bool:
    """Whether a NaN score only means that no episode was complete (no evidence, not a failed evaluation)."""
    return math.isnan(metrics.primary_score) and not metrics.episode_returns


def _standard_error(returns: Sequence[float]) -> float | None:
    n = len(returns)
    if n < 2:
        return None
    mean = math.fsum(returns) / n
    return math.sqrt(math.fsum((r - mean) ** 2 for r in returns) / (n - 1) / n)
