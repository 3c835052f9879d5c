"""How much novelty counts, as the run goes on: less with every success, more on a plateau, nothing at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from optix_core.loop_callback import LoopCallback
from optix_core.types import LoopState

if TYPE_CHECKING:
    from optix_core.loop.loop_controller import LoopController
    from optix_core.types import EvalMetrics, PolicySnapshot

EtaEvent = Literal["improvement", "plateau", "dormant", "restart"]

DECAY, GROWTH, CEILING = 0.9, 1.5, 4.0


def next_eta(event: EtaEvent, eta: float, base: float) -> float:
    """The weight after ``event``.

    A new best: ``0.9 eta``. A plateau: ``1.5 eta``, at most ``4 base``. Convergence: 0.
    Training that goes on after it: ``base``.

    >>> next_eta("improvement", 0.1, 0.1), next_eta("plateau", 0.3, 0.1), next_eta("dormant", 0.4, 0.1)
    (0.09000000000000001, 0.4, 0.0)
    """
    if event == "improvement":
        return DECAY * eta
    if event == "plateau":
        return min(GROWTH * eta, CEILING * base)
    return base if event == "restart" else 0.0


class Weighted(Protocol):
    """What the schedule sets."""

    eta: float
    base_eta: float
    resting: bool

    def set_eta(self, eta: float) -> None:
        """Put a weight in force."""
        ...


class EtaSchedule(LoopCallback):
    """Follows the loop and sets the weight of the bonus; every change is in the decision log as ``rnd``.

    All state is the pipeline's, so that it is stored and continued with it.
    """

    critical: ClassVar[bool] = True

    def __init__(self, run: LoopController, pipeline: Weighted) -> None:
        self._run, self._pipeline = run, pipeline

    def on_improvement(self, snapshot: PolicySnapshot) -> None:
        """Less of it."""
        del snapshot
        self._apply("improvement")

    def on_plateau(self, episode_id: int, state: LoopState) -> None:
        """More of it."""
        del episode_id, state
        self._apply("plateau")

    def on_dormant(self, episode_id: int) -> None:
        """None of it."""
        del episode_id
        self._apply("dormant")

    def on_episode_end(self, episode_id: int, eval_metrics: EvalMetrics | None) -> None:
        """Back to the base where training goes on after convergence."""
        del episode_id, eval_metrics
        if self._pipeline.resting and self._run.state in (LoopState.ACTIVE, LoopState.COOLING):
            self._apply("restart")

    def _apply(self, event: EtaEvent) -> None:
        pipeline = self._pipeline
        if pipeline.resting and event != "restart":
            return
        before = pipeline.eta
        pipeline.set_eta(next_eta(event, before, pipeline.base_eta))
        pipeline.resting = event == "dormant"
        facts: dict[str, Any] = {
            "event": event,
            "before": before,
            "eta": pipeline.eta,
            "base": pipeline.base_eta,
        }
        self._run.log("rnd", **facts)
