"""What the state machine remembers of the scores: the newest ones, and summaries of all."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optix_core.loop.config import LoopConfig
    from optix_core.loop.records import LoopSnapshot

DROP_MEMORY = 0.99
"""Discount per evaluation of what is remembered about earlier drops: about the last hundred count."""


def push_score(
    snapshot: LoopSnapshot, score: float, config: LoopConfig, *, score_se: float | None = None
) -> LoopSnapshot:
    """Remember one finite score and its standard error; the only place where the history grows."""
    scores = (*snapshot.scores[-(config.max_history - 1) :], score)
    width = 2 * config.score_smoothing + 1
    low, rise = snapshot.low, snapshot.rise
    if len(scores) >= width:
        median = sorted(scores[-width:])[config.score_smoothing]
        low = median if low is None else min(low, median)
        rise = max(rise, median - low)
    mark, at = snapshot.rise_mark, snapshot.rise_at
    if rise > mark * (1.0 + config.gain_share):
        mark, at = rise, snapshot.evaluations + 1
    level = snapshot.level
    w, k = config.score_window, config.min_consecutive_degradations
    if len(scores) >= w + k:
        # lags by k, so that a drop under way does not blur what it is measured against
        block = scores[-w - k : -k]
        # a median is one of the scores, so that differences to it are exact whatever the task's zero
        median = sorted(block)[(w - 1) // 2]
        level = median if level is None else max(level, median)
    known = ((snapshot.top, snapshot.top_se), (snapshot.reached, snapshot.reached_se))
    ranked = sorted(
        [(score, score_se), *((s, se) for s, se in known if s is not None)],
        key=lambda pair: pair[0],
        reverse=True,
    )
    (top, top_se), (reached, reached_se) = ranked[0], ranked[1] if len(ranked) > 1 else (None, None)
    same = bool(snapshot.scores) and snapshot.scores[-1] == score
    return replace(
        snapshot,
        scores=scores,
        evaluations=snapshot.evaluations + 1,
        top=top,
        top_se=top_se,
        reached=reached,
        reached_se=reached_se,
        low=low,
        rise=rise,
        rise_mark=mark,
        rise_at=at,
        level=level,
        constant_run=snapshot.constant_run + 1 if same else 1,
        failed_streak=0,
    )


def remember_drop(snapshot: LoopSnapshot, drop: float, config: LoopConfig) -> LoopSnapshot:
    """Learn what noise alone does from drops that were not confirmed, as late as a confirmed one would have been."""
    drops = (*snapshot.recent_drops, drop)
    if len(drops) <= config.min_consecutive_degradations:
        return replace(snapshot, recent_drops=drops)
    settled = max(drops[0], 0.0)
    return replace(
        snapshot,
        recent_drops=drops[1:],
        drop_power=DROP_MEMORY * snapshot.drop_power + settled * settled,
        drop_weight=DROP_MEMORY * snapshot.drop_weight + (1.0 if settled > 0.0 else 0.0),
    )
