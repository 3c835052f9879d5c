"""Which policy a run hands back: the best candidates, measured once more on episodes that decided nothing before.

The best of many noisy scores is optimistic (winner's curse). So the best stored policy and the last one are compared on
fresh, paired episodes, the better one is returned, and its fresh score is what is reported.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from optix_core.loop.result import Confirmation
from optix_core.loop.validation import CONFIRMATION_INDEX
from optix_core.stats.comparison import MIN_EPISODES, mean_interval

if TYPE_CHECKING:
    from optix_core.base_agent import BaseAgent
    from optix_core.checkpoints.registry import CheckpointRegistry
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
