"""Observers that are fed from the run's event stream, whose every event carries the one monotonic step."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from optix_core.loop_callback import LoopCallback
from optix_core.runs.decision_log import LogEvent
from optix_core.stats.comparison import MIN_EPISODES, mean_interval

if TYPE_CHECKING:
    from optix_core.types import EvalMetrics, LoopState, PolicySnapshot


class StreamCallback(LoopCallback):
    """Base of loggers and displays.

    Inside the loop, :meth:`on_run_event` receives every line of the decision log. A resumed run, and a callback added
    while a run goes on, first receive what the log holds already, so that nothing is missing or twice. Where some
    other program fires the eight events of :class:`~optix_core.loop_callback.LoopCallback` instead, events are made of
    those, with the window's number as step.

    Subclasses override :meth:`opened`, :meth:`received` and :meth:`closed`.
    """

    _run: Any = None
    _open = False
    _ended = False
    _streamed = False
    _step = 0
    _count = 0
    _best: float | None = None
    _degraded_at: int | None = None

    # --- for subclasses -----------------------------------------------------------------------------------------------

    def opened(self, event: LogEvent) -> None:
        """Before the first event of a session."""

    def received(self, event: LogEvent) -> None:
        """One event."""

    def closed(self) -> None:
        """After the last event of a session that was opened; always called."""

    @property
    def run_name(self) -> str | None:
        """Name of the run's directory, None outside of one."""
        directory = getattr(getattr(self._run, "registry", None), "checkpoint_dir", None)
        return None if directory is None else str(directory.name)

    # --- fed by the stream --------------------------------------------------------------------------------------------

    def attach(self, run: Any) -> None:
        """Remember the loop, from whose log earlier events are read."""
        self._run = run

    def on_run_event(self, event: LogEvent) -> None:
        """Pass one event on; before the first one of a session, what the log held already."""
        if self._ended:
            if event.kind not in {"started", "resumed"}:
                return
            self._ended = False
        self._streamed = True
        self._pass_on(event)

    def _pass_on(self, event: LogEvent) -> None:
        if not self._open:
            self._open = True
            self.opened(event)
            for earlier in self._earlier(event.seq):
                self.received(earlier)
        self.received(event)

    def _earlier(self, seq: int) -> Iterator[LogEvent]:
        log = getattr(self._run, "decision_log", None)
        if log is not None and seq > 1 and self._streamed:
            yield from (event for event in log.read() if event.seq < seq)

    # --- fed by the eight events --------------------------------------------------------------------------------------

    def on_loop_start(self) -> None:
        """Nothing is known yet."""
        if not self._streamed:
            self._ended = False

    def on_loop_stop(self) -> None:
        """Close what was opened."""
        self._ended = True
        if self._open:
            self._open = False
            self.closed()

    def on_episode_end(self, episode_id: int, eval_metrics: EvalMetrics | None) -> None:
        """The window's score and metrics."""
        if self._streamed:
            return
        if eval_metrics is not None:
            score = eval_metrics.primary_score
            if math.isfinite(score):
                self._best = score if self._best is None else max(score, self._best)
            told: dict[str, Any] = {"metrics": dict(eval_metrics.metrics)}
            returns = eval_metrics.episode_returns
            if len(returns) >= MIN_EPISODES and all(map(math.isfinite, returns)):
                interval = mean_interval(returns)
                told["interval"] = [interval.low, interval.high]
            numbers = {"best": self._best}
            if self._degraded_at != episode_id:
                numbers["score"] = score
            self._make(episode_id, verdict="STEADY", numbers=numbers, **told)
        self._step = max(self._step, episode_id + 1)

    def on_improvement(self, snapshot: PolicySnapshot) -> None:
        """The new best score."""
        score = snapshot.eval_metrics.primary_score
        self._best = score if self._best is None else max(score, self._best)
        self._make(snapshot.episode_id, actions=["SAVE_BEST"], numbers={"best": self._best})

    def on_plateau(self, episode_id: int, state: LoopState) -> None:
        """A state was entered."""
        self._make(episode_id, transitions=[["ACTIVE", state.name, "plateau"]], state=state.name)

    def on_dormant(self, episode_id: int) -> None:
        """Convergence."""
        self._make(episode_id, transitions=[["COOLING", "DORMANT", "converged"]], state="DORMANT")

    def on_degradation(self, episode_id: int, eval_metrics: EvalMetrics) -> None:
        """A drop."""
        self._degraded_at = episode_id
        self._make(episode_id, verdict="DEGRADED", numbers={"score": eval_metrics.primary_score})

    def on_hyperparam_update(self, old_params: dict[str, Any], new_params: dict[str, Any]) -> None:
        """What changed."""
        changed = {k: [old_params.get(k), v] for k, v in new_params.items() if old_params.get(k) != v}
        if changed:
            self._make(self._step, kind="tuned", changed=changed)

    def _make(self, step: int, *, kind: str = "decision", **numbers: Any) -> None:
        if self._streamed or self._ended:
            return
        self._step = max(self._step, step)
        self._count += 1
        self._pass_on(LogEvent(self._count, kind, step + 1, self._step, time.time(), numbers))
