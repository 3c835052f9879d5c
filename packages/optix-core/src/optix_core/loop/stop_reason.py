"""Why a run ended, each reason with the sentence its user reads."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class StopReason(Enum):
    """Reasons to stop; the value is the sentence, with the names of the numbers that fill it."""

    CONVERGED = (
        "converged: with {confidence:.0%} confidence the next {horizon:.0f} evaluations would gain "
        "less than {gain_upper:.4g}, "
        "and less than {delta_abs:.4g} ({delta:.0%} of the observed range {range:.4g}) was asked for "
        "(slope {slope:.3g} ± {slope_se:.2g} per evaluation over {window:.0f} evaluations, "
        "residual autocorrelation {r1:.2f}, effective sample size {n_eff:.1f}, held {converged_streak:.0f} times)"
    )
    CONVERGED_AFTER_PROBE = (
        "converged: with {confidence:.0%} confidence the next {horizon:.0f} evaluations would gain "
        "less than {gain_upper:.4g}, "
        "and less than {delta_abs:.4g} ({delta:.0%} of the observed range {range:.4g}) was asked for; "
        "a probe from the best policy found no confirmed gain either "
        "({probe_gain:.4g}, at least {probe_gain_lower:.4g}, {probe_n:.0f} pairs)"
    )
    VARIANTS_USED_UP = (
        "converged after {spawns:.0f} variants of the policy, as many as max_spawns allows; "
        "{replaced:.0f} of them proved better than what they came from (best score {best:.6g})"
    )
    VARIANTS_DO_NOT_HELP = (
        "converged, and the last {fruitless:.0f} of {spawns:.0f} variants of the policy did not prove better than what "
        "they came from (best score {best:.6g})"
    )
    TARGET_REACHED = (
        "target reached: the score was at least {target:.6g} in {target_streak:.0f} evaluations in a row "
        "(last {score:.6g})"
    )
    MAX_STEPS = "the budget of {max_steps:,.0f} environment steps is used up ({steps:,.0f} steps)"
    MAX_WINDOWS = "the budget of {max_windows:,.0f} windows is used up"
    MAX_SECONDS = "the time budget of {max_seconds:.1f} s is used up ({elapsed:.1f} s)"
    REQUESTED = "stopped on request after {windows:,.0f} windows and {steps:,.0f} environment steps"
    SIGNAL = (
        "stopped by signal {signal:.0f} after {windows:,.0f} windows and {steps:,.0f} environment steps; "
        "it can be resumed"
    )
    SOURCE_ENDED = (
        "the source of windows ended after {windows:,.0f} windows and {steps:,.0f} environment steps"
    )
    DIVERGED = (
        "diverged: {failed_streak:.0f} evaluations in a row gave no finite number, "
        "and restoring earlier weights did not help"
    )

    @property
    def is_error(self) -> bool:
        """True where the run failed rather than ended; the loop raises ``NumericalDivergence`` then."""
        return self is StopReason.DIVERGED

    @property
    def is_convergence(self) -> bool:
        """True where the statistics, not a budget or the user, ended the run."""
        return self in {
            StopReason.CONVERGED,
            StopReason.CONVERGED_AFTER_PROBE,
            StopReason.VARIANTS_USED_UP,
            StopReason.VARIANTS_DO_NOT_HELP,
        }

    def sentence(self, numbers: Mapping[str, float | None]) -> str:
        """The sentence filled with ``numbers`` (a decision's ``numbers``); what is unknown reads as ``nan``."""
        return self.value.format_map(_Filled(numbers))


class _Filled(dict[str, float]):
    def __init__(self, numbers: Mapping[str, float | None]) -> None:
        super().__init__({name: float("nan") if value is None else value for name, value in numbers.items()})

    def __missing__(self, key: str) -> float:
        return float("nan")
