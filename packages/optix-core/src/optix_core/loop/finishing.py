"""How a run ends: which policy it hands back, what is said of it, and that everything is torn down.

The best of many noisy scores is optimistic (winner's curse). So the best stored policy and the last one are compared on
fresh, paired episodes, the better one is returned, and its fresh score is what is reported.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from typing import TYPE_CHECKING

from optix_core.loop.result import Confirmation, RunResult
from optix_core.loop.stop_reason import StopReason
from optix_core.loop.validation import CONFIRMATION_INDEX
from optix_core.stats.comparison import MIN_EPISODES, mean_interval
from optix_core.types import EvalMetrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from optix_core.base_agent import BaseAgent
    from optix_core.checkpoints.registry import CheckpointRegistry
    from optix_core.loop.loop_controller import LoopController
    from optix_core.loop.signals import StopOnSignal
    from optix_core.loop.validation import Validator
    from optix_core.types import PolicySnapshot

logger = logging.getLogger("optix.loop")


def confirm(
    agent: BaseAgent, registry: CheckpointRegistry, validator: Validator, episodes: int
) -> Confirmation | None:
    """Measure the best stored policy and the newest one on the same fresh episodes; the better one is confirmed.

    Returns:
        The winner (ties go to the stored best), or None if the pipeline gives no episode returns. The agent
        is left with the
        weights that were measured last; call :func:`restore_best` next.
    """
    if not validator.paired:
        return None
    best = registry.best
    newest = registry.snapshots()[-1]
    candidates = [newest] if best is None or best.snapshot_id == newest.snapshot_id else [best, newest]
    confirmed: Confirmation | None = None
    for candidate in candidates:
        registry.load(agent, candidate.snapshot_id)
        metrics = validator.measure(CONFIRMATION_INDEX, episodes=episodes)
        if len(metrics.episode_returns) < MIN_EPISODES:
            continue
        interval = mean_interval(metrics.episode_returns, confidence=0.95)
        if confirmed is None or interval.mean > confirmed.mean:
            score = candidate.eval_metrics.primary_score
            confirmed = Confirmation(
                mean=interval.mean,
                low=interval.low,
                high=interval.high,
                episodes=len(metrics.episode_returns),
                snapshot_id=candidate.snapshot_id,
                selected_score=None if math.isnan(score) else score,
            )
    return confirmed


def restore_best(
    agent: BaseAgent, registry: CheckpointRegistry, confirmation: Confirmation | None
) -> PolicySnapshot | None:
    """Give ``agent`` the confirmed policy, or the best stored one if there was no confirmation.

    Returns:
        The snapshot it now has; None if nothing was ever scored, in which case the agent keeps its last weights.
    """
    if confirmation is not None:
        return registry.load(agent, confirmation.snapshot_id)
    return registry.load_best(agent)


def finish(
    loop: LoopController, reason: StopReason, message: str, *, confirm_episodes: int, signals: StopOnSignal
) -> RunResult:
    """Store the run as it is, confirm and restore the best policy, and write the last line of the log.

    Args:
        loop: The controller whose parts are used.
        reason: Why the run ends.
        message: The sentence for its user.
        confirm_episodes: Fresh episodes on which the best candidates are compared; 0 for none.
        signals: Knows the signal that came, if one did.
    """
    last = loop.history[-1] if loop.history else EvalMetrics(math.nan, {}, loop.progress.windows - 1)
    interrupted = reason in (StopReason.SIGNAL, StopReason.REQUESTED)
    # The state as it is, before the best weights replace it: this is what a resumed run continues from.
    loop.storage.save("signal" if interrupted else "final", dataclasses.replace(last, primary_score=math.nan))
    confirmation = None
    if loop.validator is not None and confirm_episodes > 0 and not interrupted:
        confirmation = confirm(loop.agent, loop.registry, loop.validator, confirm_episodes)
    snapshot = restore_best(loop.agent, loop.registry, confirmation)
    best = loop.registry.best
    result = RunResult(
        stop_reason=reason,
        message=message,
        state=loop.state,
        best_score=None if best is None else best.eval_metrics.primary_score,
        confirmation=confirmation,
        windows=loop.progress.windows,
        steps=loop.progress.steps,
        validation_steps=0 if loop.validator is None else loop.validator.steps,
        episodes=loop.progress.episodes,
        elapsed=loop.progress.elapsed,
        run_dir=str(loop.registry.checkpoint_dir),
        snapshot_id=None if snapshot is None else snapshot.snapshot_id,
        signal=signals.received,
        callback_faults=loop.callbacks.faults,
    )
    loop.log(
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


def salvage(loop: LoopController) -> None:
    """Leave the agent with the best weights if that is possible; never mask the error under way."""
    try:
        restore_best(loop.agent, loop.registry, None)
    except Exception:
        logger.exception("the best weights could not be restored after the failure above")


def close(loop: LoopController) -> list[Exception]:
    """Tear everything down, whatever fails on the way; returns the failures."""
    closers: list[Callable[[], None]] = [
        lambda: loop.callbacks.fire("on_loop_stop"),
        loop.pipeline.teardown,
    ]
    if loop.validator is not None:
        closers.append(loop.validator.teardown)
    if loop.decision_log is not None:
        closers.append(loop.decision_log.close)
    errors: list[Exception] = []
    for closer in closers:
        try:
            closer()
        except Exception as error:  # noqa: BLE001 - handed to the caller, after the others had their turn
            errors.append(error)
    return errors
