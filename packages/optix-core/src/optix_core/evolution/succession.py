"""Which policy reigns: a variant takes the place of what it came from only if a comparison says so."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from optix_core.errors import CheckpointError, ConfigError
from optix_core.evolution.trends import observed_range
from optix_core.state import State
from optix_core.stats.comparison import MIN_EPISODES, compare_returns
from optix_core.types import EvalMetrics

if TYPE_CHECKING:
    from optix_core.loop.loop_controller import LoopController
    from optix_core.types import PolicySnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a variant.

    Attributes:
        replaced: It took the place of what it came from.
        origin: Snapshot that it came from.
        candidate: Snapshot of the variant that was compared; None if it could not be stored.
        difference: Mean return of the variant minus that of its origin; None without a comparison.
        low: Lower end of the interval of ``difference``.
        high: Upper end.
        episodes: Pairs, or episodes per policy.
        improvement: ``difference`` as a share of the observed range of scores, if it replaced its origin.
        reason: Why there was no comparison; None if there was one.
    """

    replaced: bool
    origin: str
    candidate: str | None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    episodes: int = 0
    improvement: float | None = None
    reason: str | None = None

    def to_log(self) -> dict[str, Any]:
        """For the decision log."""
        return asdict(self)


class Succession:
    """Remembers the reigning policy and the variant in training.

    Args:
        episodes: Episodes per policy in a comparison.
        confidence: Of the two-sided interval, in (0, 1).

    Attributes:
        kept: Snapshot that was added to the ensemble last.

    Raises:
        ConfigError: A value is out of its range.
    """

    def __init__(self, *, episodes: int, confidence: float) -> None:
        if episodes < MIN_EPISODES:
            raise ConfigError(f"comparison_episodes is {episodes}; an interval needs at least {MIN_EPISODES}")
        if not 0 < confidence < 1:
            raise ConfigError(f"confidence is {confidence}; it must be above 0 and below 1")
        self._episodes, self._confidence = episodes, confidence
        self._reigning: str | None = None
        self._best_before: str | None = None
        self._under_way = False
        self.kept: str | None = None

    def reigning(self, run: LoopController) -> PolicySnapshot | None:
        """The policy that variants come from: the best stored one until a variant has taken its place."""
        return run.registry.best if self._reigning is None else self._find(run, self._reigning)

    def begin(self, run: LoopController, origin: PolicySnapshot) -> None:
        """A variant of ``origin`` is in training from here on."""
        best = run.registry.best
        self._reigning, self._under_way = origin.snapshot_id, True
        self._best_before = None if best is None else best.snapshot_id
        self.protect(run)

    def judge(self, run: LoopController) -> Outcome | None:
        """Compare the variant in training with its origin; the agent is left with the one that reigns.

        The variant is represented by the best policy that it reached, if that is the best stored one, and otherwise by
        what it is now.

        Returns:
            None if no variant is in training.
        """
        if not self._under_way or self._reigning is None:
            return None
        self._under_way = False
        origin = self._find(run, self._reigning)
        best = run.registry.best
        fresh = best is not None and best.snapshot_id not in (self._best_before, self._reigning)
        candidate = best if fresh else run.storage.save("variant", _unscored(run))
        outcome = self._compare(run, origin, candidate)
        winner = candidate if outcome.replaced and candidate is not None else origin
        self._reigning = winner.snapshot_id
        self.protect(run)
        run.storage.restore(winner)
        return outcome

    def _compare(
        self, run: LoopController, origin: PolicySnapshot, candidate: PolicySnapshot | None
    ) -> Outcome:
        if candidate is None:
            return Outcome(
                replaced=False, origin=origin.snapshot_id, candidate=None, reason="it could not be stored"
            )
        undecided = Outcome(replaced=False, origin=origin.snapshot_id, candidate=candidate.snapshot_id)
        validator = run.validator
        if validator is None:
            better = candidate.eval_metrics.beats(origin.eval_metrics)
            return replace(
                undecided, replaced=better, reason="without validation episodes the stored scores decide"
            )
        index = validator.next_index()
        returns: list[tuple[float, ...]] = []
        for snapshot in (origin, candidate):
            run.registry.load(run.agent, snapshot.snapshot_id)
            returns.append(validator.measure(index, episodes=self._episodes).episode_returns)
        ours, theirs = returns[1], returns[0]
        if min(len(ours), len(theirs)) < MIN_EPISODES or not all(map(math.isfinite, ours + theirs)):
            return replace(undecided, reason="too few complete episodes to compare")
        found = compare_returns(ours, theirs, paired=validator.paired, confidence=self._confidence)
        scale = observed_range(list(run.history))
        won = found.low > 0
        return replace(
            undecided,
            replaced=won,
            difference=found.difference,
            low=found.low,
            high=found.high,
            episodes=found.episodes,
            improvement=found.difference / scale if won and scale > 0 else None,
        )

    def protect(self, run: LoopController) -> None:
        """Keep the reigning policy on disk, whatever its score and age."""
        if self._reigning is not None:
            run.registry.store.protect(self._reigning)

    def _find(self, run: LoopController, name: str) -> PolicySnapshot:
        for snapshot in run.registry.snapshots():
            if snapshot.snapshot_id == name:
                return snapshot
        raise CheckpointError(
            f"{name}, the policy that variants come from, is no longer in {run.registry.checkpoint_dir}. Put it back, "
            "or start a new run from the best policy that is left."
        )

    def state_dict(self) -> State:
        """What is remembered."""
        return {
            "reigning": self._reigning,
            "best_before": self._best_before,
            "under_way": self._under_way,
            "kept": self.kept,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self._reigning, self._best_before = state["reigning"], state["best_before"]
        self._under_way, self.kept = bool(state["under_way"]), state["kept"]


def _unscored(run: LoopController) -> EvalMetrics:
    """Metrics that take no part in "best": the comparison, not a lucky score, decides about this policy."""
    return EvalMetrics(math.nan, {}, run.progress.windows - 1)
