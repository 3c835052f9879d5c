"""How the loop decides: every parameter of the state machine, what it means, and what it may be."""

from __future__ import annotations

import math
from dataclasses import dataclass

from optix_core.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConfig:
    """Parameters of :func:`optix_core.loop.transition.decide`.

    An *evaluation* is a window that gave a finite score. Every rule compares scores with scores, so multiplying all
    of them by a
    positive number or adding one changes no decision; the exceptions are in score units and marked (units).

    Improvement
        improvement_margin: (units) A policy becomes the best when its checkpoint score exceeds the best by more
            than this, >= 0.
        trend_window: Shortest run of evaluations that the test for a rise looks at, >= 4. Longer ones are tested too.
        noise_k: How clearly a slope must exceed zero to count as a rise: the one-sided Student-t test has the error
            probability of a normal deviate ``noise_k`` standard errors out (2.0: 2.3 %), > 0.
        score_smoothing: Half-width of the running median that the observed range is measured on, >= 0 (2: median of
            five, so that two outliers in a row don't widen the range; 0: raw scores).

    Convergence
        plateau_threshold: Evaluations without improvement until ACTIVE becomes COOLING, >= 1.
        dormant_threshold: Fewest evaluations that an expected gain may be judged from, >= 8. The window
            grows from here as noise demands. Scores that are exactly constant at the highest value so far need only
            ``plateau_threshold``, exactly constant ones elsewhere (also a run that never rose) twice
            ``dormant_threshold``.
        min_episodes_before_dormant: Evaluations before convergence may be declared at all, >= 0.
        delta: The run is worth continuing while the gain over ``horizon`` could be more than this share of the
            observed range, in (0, 1).
        cv_threshold: Another name for ``delta`` (give one of them, or both equal).
        horizon: Evaluations ahead that the expected gain is summed over, >= 1. None: 20, or a third of the
            evaluations that the rise took if that is more, so that slow curves are given time in proportion.
        confidence: Of the upper bound of the gain, in (0.5, 1).
        convergence_patience: Consecutive evaluations for which the bound, or ``target_score``, must hold, >= 1.
        gap_threshold: No convergence while the score is significantly further than this share of the observed range
            below the best
            level, >= 0, if a rollback could repair that.
        target_score: (units) Stop when the checkpoint score has reached this for ``convergence_patience``
            evaluations in a row.
        probe: Ask for a probe before convergence is declared.
        keep_watching: After convergence go on as WATCHDOG instead of stopping.

    Degradation
        min_episodes_before_degradation: Evaluations before a drop can be called degradation, >= 2.
        min_consecutive_degradations: Consecutive low evaluations that make a drop, >= 1.
        score_window: Evaluations that the level before a drop, and the noise around it, are estimated from, >= 5.
        degradation_threshold: None: the drop is tested against the noise. A number in (0, 1) instead uses the fixed
            rule *score < best - |best| * (1 -
            degradation_threshold)*, which depends on where the task's zero lies.
        min_degradation_drop: (units) A drop must also be larger than this. None: larger than a tenth of the
            observed range.
        degradation_sigmas: Standard errors by which the recent mean must lie below the level, > 0; a quarter more for a
            sudden jump, which is judged against what autocorrelated noise would have done next. The default allows
            less than one false alarm in 500 evaluations of stationary noise (benchmarks/loop).
        rollback_cooldown: Evaluations after a rollback without tuning, and without another one unless episodes prove a
            collapse, >= 0.
        max_rollbacks: Rollbacks without a new best after which the lower level is accepted as the new reference, >= 1.
        max_failures: Failed evaluations in a row that end the run, >= 1.

    Pacing of expensive actions (evaluation itself is never backed off)
        base_interval: Windows between two tuner calls while the run improves, >= 1.
        backoff_factor: The interval grows by this factor with every evaluation without improvement, >= 1.
        max_interval_episodes: Largest interval, >= base_interval.

    Memory
        max_history: Scores kept; also the longest window of any test, >= 32.

    Raises:
        ConfigError: A value is outside its range or of the wrong type.
    """

    improvement_margin: float = 0.0
    trend_window: int = 8
    noise_k: float = 2.0
    score_smoothing: int = 2
    plateau_threshold: int = 5
    dormant_threshold: int = 20
    min_episodes_before_dormant: int = 0
    delta: float | None = None
    cv_threshold: float | None = None
    horizon: int | None = None
    confidence: float = 0.95
    convergence_patience: int = 5
    gap_threshold: float = 0.20
    target_score: float | None = None
    probe: bool = True
    keep_watching: bool = False
    min_episodes_before_degradation: int = 5
    min_consecutive_degradations: int = 3
    score_window: int = 20
    degradation_threshold: float | None = None
    min_degradation_drop: float | None = None
    degradation_sigmas: float = 4.0
    rollback_cooldown: int = 5
    max_rollbacks: int = 3
    max_failures: int = 5
    base_interval: int = 1
    backoff_factor: float = 2.0
    max_interval_episodes: int = 100
    max_history: int = 600

    def __post_init__(self) -> None:
        if self.delta is not None and self.cv_threshold is not None and self.delta != self.cv_threshold:
            raise ConfigError(
                f"delta={self.delta} and cv_threshold={self.cv_threshold}: these are "
                "two names of one parameter; give one of them"
            )
        for name, low in _WHOLE.items():
            _check_whole(name, getattr(self, name), low)
        for name in ("delta", "cv_threshold", "degradation_threshold"):
            _check_open(name, getattr(self, name), 0.0, 1.0)
        _check_open("confidence", self.confidence, 0.5, 1.0)
        for name in ("noise_k", "degradation_sigmas"):
            _check_open(name, getattr(self, name), 0.0, math.inf)
        for name, low in {
            "improvement_margin": 0.0,
            "gap_threshold": 0.0,
            "backoff_factor": 1.0,
            "min_degradation_drop": 0.0,
        }.items():
            _check_at_least(name, getattr(self, name), low)
        if self.target_score is not None and not math.isfinite(self.target_score):
            raise ConfigError(
                f"target_score is {self.target_score}; expected a finite number, or None for no target"
            )
        if self.max_interval_episodes < self.base_interval:
            raise ConfigError(
                f"max_interval_episodes is {self.max_interval_episodes}, below base_interval={self.base_interval}; "
                "raise the former or lower the latter"
            )
        longest = max(
            2 * self.dormant_threshold,
            self.trend_window,
            self.score_window + self.min_consecutive_degradations,
        )
        if self.max_history < longest:
            raise ConfigError(
                f"max_history is {self.max_history}, but dormant_threshold, trend_window and score_window "
                f"need {longest}; raise it"
            )

    @property
    def gain_share(self) -> float:
        """The ``delta`` in force: the one given under either name, else 0.05."""
        return (
            self.delta
            if self.delta is not None
            else (self.cv_threshold if self.cv_threshold is not None else 0.05)
        )

    def horizon_after(self, rise_at: int) -> int:
        """Evaluations ahead that the expected gain is summed over, in a run that rose until evaluation ``rise_at``."""
        return self.horizon if self.horizon is not None else max(20, rise_at // 3)


_WHOLE = {
    "trend_window": 4,
    "score_smoothing": 0,
    "plateau_threshold": 1,
    "dormant_threshold": 8,
    "min_episodes_before_dormant": 0,
    "convergence_patience": 1,
    "min_episodes_before_degradation": 2,
    "min_consecutive_degradations": 1,
    "score_window": 5,
    "rollback_cooldown": 0,
    "max_rollbacks": 1,
    "max_failures": 1,
    "base_interval": 1,
    "max_interval_episodes": 1,
    "max_history": 32,
    "horizon": 1,
}


def _check_whole(name: str, value: object, low: int) -> None:
    if value is None and name == "horizon":
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ConfigError(f"{name} is {value!r}; expected a whole number of at least {low}")


def _check_open(name: str, value: object, low: float, high: float) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not low < value < high:
        raise ConfigError(f"{name} is {value!r}; expected a number above {low:g} and below {high:g}")


def _check_at_least(name: str, value: object, low: float) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value < math.inf:
        raise ConfigError(f"{name} is {value!r}; expected a finite number of at least {low:g}")
