"""How a run begins: everything is set up, and the run is continued or its starting point put on record."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from optix_core.types import EvalMetrics

if TYPE_CHECKING:
    from collections.abc import Mapping

    from optix_core.loop.loop_controller import LoopController


def begin(loop: LoopController, *, resume: bool, started_with: Mapping[str, Any]) -> None:
    """Set everything up; continue a stored run, or measure and store the agent as it comes.

    Args:
        loop: The controller whose parts are used.
        resume: Continue from the newest intact checkpoint if there is one.
        started_with: Facts for the first line of the log.

    Raises:
        CheckpointError: The checkpoint is damaged or belongs to another agent.
    """
    loop.pipeline.set_agent(loop.agent)
    loop.pipeline.setup()
    loop.trainer.begin()
    if loop.validator is not None:
        loop.validator.setup(loop.agent)
    loop.tuning.announce_limits()
    if resume and loop.storage.resume():
        loop.cycle.tell_hyperparams(_told_hyperparams(loop))
        loop.log("resumed")
    elif loop.progress.windows == 0:
        params = loop.agent.get_hyperparams().params
        loop.cycle.tell_hyperparams(params)
        loop.log("started", budget=dataclasses.asdict(loop.budget), hyperparams=params, **started_with)
        _measure_baseline(loop)
        if loop.registry.best is None:
            # So that there is something to go back to if the very first updates diverge.
            loop.storage.save("start", EvalMetrics(math.nan, {}, -1))


def _told_hyperparams(loop: LoopController) -> dict[str, Any]:
    """What the log has said of the hyperparameters so far."""
    told: dict[str, Any] = {}
    if loop.decision_log is not None:
        for event in loop.decision_log.read():
            if event.kind in {"started", "window"}:
                told |= event.numbers.get("hyperparams") or {}
    return told


def _measure_baseline(loop: LoopController) -> None:
    """Score the untrained policy: a fast learner may have climbed most of its range before it is evaluated."""
    if loop.validator is None:
        return
    metrics = loop.validator.measure(loop.validator.next_index())
    loop.scheduler.set_baseline(metrics.primary_score)
    loop.log("baseline", score=metrics.primary_score, episodes=len(metrics.episode_returns))
