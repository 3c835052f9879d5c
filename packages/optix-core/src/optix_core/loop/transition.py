"""What follows from one window: the state machine of the loop, as pure functions.

ACTIVE -> COOLING (no improvement for a while) -> a probe -> DORMANT -> stop, or WATCHDOG; a confirmed drop leads
back to ACTIVE with the best policy. What leads from state to state is listed in :mod:`.transition_table`;
what follows from the answers to its questions is in :mod:`.answers`.
"""

from __future__ import annotations

import math
from dataclasses import replace

from optix_core.loop.degradation import Drop, examine_drop, follow_loss, has_collapsed
from optix_core.loop.draft import Draft, calm, dormant, wider
from optix_core.loop.evidence import examine
from optix_core.loop.history import push_score, remember_drop
from optix_core.loop.records import (
    Action,
    Decision,
    LoopConfig,
    LoopSnapshot,
    Verdict,
    WindowReport,
)
from optix_core.loop.stop_reason import StopReason
from optix_core.types import LoopState


def decide(snapshot: LoopSnapshot, report: WindowReport, config: LoopConfig) -> Decision:
    """What follows from one window. Pure: same arguments, same decision; nothing is changed in place."""
    draft = Draft(snapshot)
    numbers = draft.numbers
    numbers["window"] = None
    score = report.score
    if report.diverged or (score is not None and not math.isfinite(score)):
        _failed(draft, report, config)
    elif score is None:
        draft.verdict = Verdict.NO_SCORE
        _judge_best(draft, report, config)
    else:
        _judge_best(draft, report, config)
        _scored(draft, report, config, score)
    _tune(draft, report)
    _limits(draft, report)
    state = draft.snapshot
    numbers |= {
        "score": score,
        "best": state.best,
        "level": state.level,
        "score_se": report.score_se,
        "evaluations": state.evaluations,
        "non_improvements": state.consecutive_non_improvements,
        "converged_streak": state.converged_streak,
        "failed_streak": state.failed_streak,
        "cooldown": state.cooldown,
        "interval": state.interval,
        "rollbacks": state.rollbacks,
    }
    return draft.decision()


def _failed(draft: Draft, report: WindowReport, config: LoopConfig) -> None:
    """No finite number: not evidence about the score, but about the run."""
    draft.verdict = Verdict.FAILED
    before = draft.snapshot
    streak = before.failed_streak + 1
    draft.snapshot = replace(before, failed_streak=streak)
    if streak >= config.max_failures:
        draft.stop = StopReason.DIVERGED
    elif report.can_roll_back and (report.diverged or streak >= config.min_consecutive_degradations):
        draft.events.append("failed_rollback")
        _roll_back(draft, config, dropped=0)
        draft.move("diverged")


def _judge_best(draft: Draft, report: WindowReport, config: LoopConfig) -> None:
    """The best is a running maximum: NaN never wins, ties never win, nothing ever lowers it."""
    judged = report.score if report.checkpoint_score is None else report.checkpoint_score
    if judged is None or not math.isfinite(judged):
        return
    before = draft.snapshot
    if before.best is None or judged - before.best > config.improvement_margin:
        draft.actions.add(Action.SAVE_BEST)
        draft.snapshot = replace(before, best=judged, best_window=report.window, fruitless_rollbacks=0)
    if config.target_score is not None:
        streak = draft.snapshot.target_streak + 1 if judged >= config.target_score else 0
        draft.snapshot = replace(draft.snapshot, target_streak=streak)
        draft.numbers |= {"target": config.target_score, "target_streak": streak}
        if streak >= config.convergence_patience:
            draft.stop = StopReason.TARGET_REACHED


def _scored(draft: Draft, report: WindowReport, config: LoopConfig, score: float) -> None:
    """A finite score: push it, look for a drop, then for a rise and for convergence."""
    draft.snapshot = push_score(draft.snapshot, score, config, score_se=report.score_se)
    if not report.probing:
        settled = draft.snapshot.cooldown == 0
        drop = examine_drop(draft.snapshot, config) if settled else Drop(False)
        draft.numbers |= drop.numbers
        # right after a rollback the scores before say nothing about now, but the episodes behind each score still do
        if drop.degraded or _collapsed(draft, report, config, score):
            _degraded(draft, report, config)
            return
        if settled:
            draft.snapshot = remember_drop(draft.snapshot, drop.drop, config)
    before = draft.snapshot
    evidence = examine(before, config)
    draft.numbers |= evidence.numbers
    # below the best level there is nothing to end with, as long as a rollback can still repair it
    ends_well = evidence.near_best or not report.can_roll_back
    streak = before.converged_streak + 1 if evidence.equivalent and ends_well else 0
    if evidence.rising:
        draft.verdict = Verdict.IMPROVED
        draft.snapshot = replace(
            before,
            consecutive_non_improvements=0,
            interval=config.base_interval,
            converged_streak=streak,
            cooldown=max(0, before.cooldown - 1),
        )
        draft.move("improved")
        return
    draft.verdict = Verdict.STEADY
    draft.snapshot = replace(
        before,
        consecutive_non_improvements=before.consecutive_non_improvements + 1,
        interval=wider(before.interval, config),
        converged_streak=streak,
        cooldown=max(0, before.cooldown - 1),
    )
    if draft.snapshot.consecutive_non_improvements >= config.plateau_threshold:
        draft.move("plateau")
    _converge(draft, report, config)


def _collapsed(draft: Draft, report: WindowReport, config: LoopConfig, score: float) -> bool:
    """Follow a loss; whether it is a collapse by now."""
    if config.degradation_threshold is not None:
        return False
    state = draft.snapshot = follow_loss(draft.snapshot, score, report.score_se)
    if state.collapse_run:
        draft.numbers |= {
            "collapse_run": state.collapse_run,
            "collapse_lost": state.collapse_lost,
            "reached": state.reached,
            "reached_se": state.reached_se,
        }
    return has_collapsed(state, config)


def _converge(draft: Draft, report: WindowReport, config: LoopConfig) -> None:
    state = draft.snapshot
    enough = state.evaluations >= config.min_episodes_before_dormant
    if (
        state.state is LoopState.WATCHDOG
        or state.converged_streak < config.convergence_patience
        or not enough
    ):
        return
    if state.state is LoopState.ACTIVE:
        return
    if config.probe and state.state is LoopState.COOLING:
        draft.actions.add(Action.PROBE)
        draft.snapshot = replace(state, probe_pending=True)
        return
    dormant(draft, config, StopReason.CONVERGED, can_spawn=report.can_spawn)


def _degraded(draft: Draft, report: WindowReport, config: LoopConfig) -> None:
    draft.verdict = Verdict.DEGRADED
    before = draft.snapshot
    draft.snapshot = replace(before, degradations=before.degradations + 1)
    accept = before.fruitless_rollbacks >= config.max_rollbacks
    if report.can_roll_back and not accept:
        _roll_back(draft, config, dropped=config.min_consecutive_degradations)
    else:
        # nothing to go back to, or going back did not help: what is now is the reference from here on
        draft.events.append("level_accepted")
        draft.snapshot = replace(
            calm(draft.snapshot, config),
            scores=before.scores[-config.min_consecutive_degradations :],
            top=max(before.scores[-config.min_consecutive_degradations :]),
            top_se=None,
            reached=None,
            reached_se=None,
            level=None,
            rolled_back_at=None,
        )
    draft.move("degraded")


def _roll_back(draft: Draft, config: LoopConfig, dropped: int) -> None:
    """Ask for the best policy, and forget the scores of the one that is given up."""
    before = draft.snapshot
    draft.actions.add(Action.ROLL_BACK)
    draft.snapshot = replace(
        calm(before, config),
        scores=before.scores[: len(before.scores) - dropped],
        rollbacks=before.rollbacks + 1,
        rolled_back_at=before.evaluations,
        fruitless_rollbacks=before.fruitless_rollbacks + 1,
        cooldown=config.rollback_cooldown,
    )


def _tune(draft: Draft, report: WindowReport) -> None:
    """Pace the tuner: every ``interval`` windows, never without a score, never in a rollback's cool-down."""
    state = draft.snapshot
    if (
        draft.verdict not in {Verdict.IMPROVED, Verdict.STEADY}
        or state.cooldown > 0
        or not draft.actions.isdisjoint({Action.PROBE, Action.SPAWN})
    ):
        return
    if state.state in {LoopState.DORMANT, LoopState.WATCHDOG}:
        return
    if state.last_tune is None or report.window - state.last_tune >= state.interval:
        draft.actions.add(Action.TUNE)
        draft.snapshot = replace(state, last_tune=report.window)


def _limits(draft: Draft, report: WindowReport) -> None:
    """Requests and budgets; an error or a verdict of the statistics is the more telling reason and stays."""
    draft.numbers |= {
        "steps": report.steps,
        "windows": report.windows,
        "episodes": report.episodes,
        "elapsed": report.elapsed,
        "max_steps": report.max_steps,
        "max_windows": report.max_windows,
        "max_seconds": report.max_seconds,
    }
    if draft.stop is not None:
        return
    if report.stop_requested:
        draft.stop = StopReason.REQUESTED
    elif report.max_steps is not None and report.steps >= report.max_steps:
        draft.stop = StopReason.MAX_STEPS
    elif report.max_windows is not None and report.windows >= report.max_windows:
        draft.stop = StopReason.MAX_WINDOWS
    elif report.max_seconds is not None and report.elapsed >= report.max_seconds:
        draft.stop = StopReason.MAX_SECONDS
