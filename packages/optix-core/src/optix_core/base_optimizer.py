"""The contract between the loop and whatever tunes hyperparameters while training (a *tuner*)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from optix_core.types import EvalMetrics, History, HyperparamSet


class BaseOptimizer(ABC):
    """Suggests hyperparameters from the history of evaluations."""

    @abstractmethod
    def suggest(self, current_hyperparams: HyperparamSet, metrics_history: History) -> HyperparamSet:
        """The values to use from the next window on.

        Args:
            current_hyperparams: What is in force; must not be modified.
            metrics_history: Evaluations, oldest first.
        """

    def on_improvement(self, metrics: EvalMetrics) -> None:
        """The loop found a confirmed improvement."""

    def on_plateau(self, metrics_history: History) -> None:
        """The loop found no improvement for a while."""

    def on_rollback(self) -> None:
        """Earlier weights and hyperparameters were restored: measurements under way are void."""

    @property
    def is_probing(self) -> bool:
        """True while the values in force are an experiment; the loop then does not count degradation."""
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """An experiment with branches: each arm trains from the same state and is validated on the same episodes.

    Attributes:
        arms: Hyperparameter values per branch, at least one.
        windows: Training windows per branch, at least 1.
        label: What is being tried, for the decision log.
        details: Numbers behind the proposal, for the decision log.
    """

    arms: tuple[dict[str, Any], ...]
    windows: int = 1
    label: str = "probe"
    details: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialVerdict:
    """What a tuner concludes from a trial.

    Attributes:
        params: Hyperparameter values to continue with.
        keep_arm: Index of the branch whose weights to continue from, or None to return to the state before the trial.
        committed: Whether the tuner moved its centre (a change that statistics support).
        details: The numbers behind it, for the decision log.
    """

    params: dict[str, Any]
    keep_arm: int | None
    committed: bool
    details: dict[str, Any] = field(default_factory=dict[str, Any])


@runtime_checkable
class BranchingTuner(Protocol):
    """Tuners that compare branches from one checkpoint, on paired episodes.

    The loop calls ``propose`` after an evaluated window; if it returns a trial, the loop runs every arm from
    the same full state
    (weights, optimizer, normalisers), validates each on the same episode seeds, calls ``conclude`` and
    carries out the verdict.
    A trial is never split by a checkpoint: a run that is interrupted inside one resumes before it.
    """

    def propose(self, current_hyperparams: HyperparamSet, metrics_history: History) -> Trial | None:
        """The next experiment, or None if there is nothing to try now."""
        ...

    def conclude(self, trial: Trial, arm_returns: Sequence[Sequence[float]], *, paired: bool) -> TrialVerdict:
        """Judge a finished trial.

        Args:
            trial: What was proposed.
            arm_returns: Per arm, the returns of its validation episodes; index i of every arm is the same
                episode seed if ``paired``. An empty list marks an arm that diverged.
            paired: Whether the episodes are paired.
        """
        ...
