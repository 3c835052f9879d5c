"""What a finished run reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optix_core.loop.stop_reason import StopReason
    from optix_core.types import LoopState


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """Score of the returned policy on episodes that decided nothing before.

    Attributes:
        mean: Mean return.
        low: Lower end of the 95 % interval of the mean.
        high: Upper end.
        episodes: How many episodes.
        snapshot_id: The checkpoint they were run with.
        selected_score: The score for which that checkpoint was chosen; ``selected_score - mean`` is the optimism of
            selection (winner's curse).
    """

    mean: float
    low: float
    high: float
    episodes: int
    snapshot_id: str
    selected_score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run ended.

    Attributes:
        stop_reason: Why it stopped.
        message: The same in one sentence, with the numbers behind it.
        state: The loop's state at the end.
        best_score: Best score for which a checkpoint was kept; None if none ever was finite.
        confirmation: The returned policy measured on fresh episodes, where the validation pipeline allows it.
        windows: Windows learned from.
        steps: Environment steps learned from (branches and probes included).
        validation_steps: Environment steps spent on validation and confirmation.
        episodes: Complete training episodes.
        elapsed: Seconds.
        run_dir: Where the run lies.
        snapshot_id: The checkpoint whose weights the agent now has, or None.
        signal: Number of the signal that stopped the run, or None.
        callback_faults: Failures per callback.
    """

    stop_reason: StopReason
    message: str
    state: LoopState
    best_score: float | None
    confirmation: Confirmation | None
    windows: int
    steps: int
    validation_steps: int
    episodes: int
    elapsed: float
    run_dir: str
    snapshot_id: str | None
    signal: int | None
    callback_faults: dict[str, int]
