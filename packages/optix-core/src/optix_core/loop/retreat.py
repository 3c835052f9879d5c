"""Going back to a stored policy, and what changes so that the same does not happen again."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optix_core.base_agent import DivergenceRecovery
from optix_core.errors import NumericalDivergence
from optix_core.types import HyperparamSet, PolicySnapshot

if TYPE_CHECKING:
    from optix_core.loop.loop_controller import LoopController

logger = logging.getLogger("optix.loop")

MAX_RECOVERIES = 3
"""Restores after a diverged update before the run is given up."""


def to_the_best(loop: LoopController) -> None:
    """Undo a drop: restore the best policy with its hyperparameters and optimizer.

    A policy can be at its best although what it is trained with has been ruined already: the same drop then comes
    again, whatever is restored. So from the second time without a new best in between, the hyperparameters are those
    of earlier checkpoints, the newest that differ first; where none differ (any more), the agent says what it changes
    after a failed update (its learning rate), once more each time.
    """
    best = loop.registry.best
    if best is None:
        return
    loop.storage.restore(best)
    changed = _change_course(loop, best, loop.scheduler.snapshot.fruitless_rollbacks - 1)
    loop.log("rolled_back", snapshot=best.snapshot_id, score=best.eval_metrics.primary_score, changed=changed)


def _change_course(loop: LoopController, best: PolicySnapshot, times: int) -> dict[str, Any]:
    if times < 1:
        return {}
    tried = [dict(best.hyperparams.params)]
    for earlier in reversed(loop.registry.snapshots()):
        params = dict(earlier.hyperparams.params)
        if earlier.episode_id < best.episode_id and params not in tried:
            tried.append(params)
    if times < len(tried):
        loop.agent.set_hyperparams(HyperparamSet(tried[times]))
        return {name: value for name, value in tried[times].items() if tried[0].get(name) != value}
    changed: dict[str, Any] = {}
    for _ in range(times - len(tried) + 1):
        changed |= _after_failure(loop)
    return changed


def to_the_newest(loop: LoopController, names: Sequence[str]) -> None:
    """Undo a diverged update: restore the newest policy, or give up after too many.

    Raises:
        NumericalDivergence: It has happened :data:`MAX_RECOVERIES` times before.
    """
    loop.storage.recoveries += 1
    if loop.storage.recoveries > MAX_RECOVERIES:
        raise NumericalDivergence(
            f"window {loop.progress.windows - 1}: {', '.join(names)} not finite, again after {MAX_RECOVERIES} "
            "restores of earlier weights. Lower the learning rate, clip gradients, or check rewards and "
            "observations of the environment for extreme values."
        )
    newest = loop.registry.snapshots()[-1]
    loop.storage.restore(newest)
    changed = _after_failure(loop)
    loop.log("diverged", diagnostics=list(names), restored=newest.snapshot_id, changed=changed)
    logger.warning("update diverged (%s); restored %s", ", ".join(names), newest.snapshot_id)


def _after_failure(loop: LoopController) -> Mapping[str, Any]:
    agent = loop.agent
    return dict(agent.on_divergence()) if isinstance(agent, DivergenceRecovery) else {}
