"""Observers of the loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    from optix_core.loop.records import DormantReport
    from optix_core.runs.decision_log import LogEvent
    from optix_core.types import EvalMetrics, LoopState, PolicySnapshot


class LoopCallback:
    """Eight events, all of them no-ops here; override what you need.

    Order inside one evaluated window: improvement, then plateau or dormant or degradation, then hyperparam_update, then
    episode_end. An exception in an observer is reported once and counted, and the observer is disabled after
    three in a row; training continues.

    Attributes:
        critical: Set True in callbacks that change the agent: an exception then stops the run instead.
    """

    critical: ClassVar[bool] = False

    def on_loop_start(self) -> None:
        """Before the first window."""

    def on_loop_stop(self) -> None:
        """After the last window, once the best weights are restored. Always called."""

    def on_episode_end(self, episode_id: int, eval_metrics: EvalMetrics | None) -> None:
        """After every window; ``eval_metrics`` is None if the window was not evaluated."""

    def on_improvement(self, snapshot: PolicySnapshot) -> None:
        """A new best policy was stored."""

    def on_plateau(self, episode_id: int, state: LoopState) -> None:
        """The loop entered COOLING."""

    def on_dormant(self, episode_id: int) -> None:
        """The loop declared convergence."""

    def on_degradation(self, episode_id: int, eval_metrics: EvalMetrics) -> None:
        """A confirmed drop below the best policy."""

    def on_hyperparam_update(self, old_params: dict[str, Any], new_params: dict[str, Any]) -> None:
        """At least one hyperparameter changed."""


@runtime_checkable
class RunEventListener(Protocol):
    """Observers that want the run's whole event stream: every line of the decision log, at the moment it is written."""

    def on_run_event(self, event: LogEvent) -> None:
        """One event, in the order of their numbers.

        ``event.step`` (environment steps) never falls within a session, but for its end: a session that was
        interrupted in an experiment ends at the step before it, from where it is resumed.
        """
        ...


@runtime_checkable
class RunObserver(Protocol):
    """Observers that want to know whom they observe."""

    def attach(self, run: Any) -> None:
        """Called once before anything happens.

        ``run`` is the :class:`~optix_core.loop.loop_controller.LoopController`.
        """
        ...


@runtime_checkable
class DormancyDecider(Protocol):
    """Callbacks that may let a run go on after convergence, for example with a variant of the agent."""

    def on_converged(self, run: Any, window: int) -> DormantReport:
        """Decide, and change the agent if training is to go on. Called after ``on_dormant``.

        An exception ends the run, because the agent may be half changed then. If several callbacks decide, the first
        that goes on wins, and the others are not asked.

        Args:
            run: The :class:`~optix_core.loop.loop_controller.LoopController` at work.
            window: Index of the window that led here.
        """
        ...
