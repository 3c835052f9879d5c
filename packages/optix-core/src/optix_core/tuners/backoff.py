"""One hyperparameter at a time: keep the probe, mirror it, or leave the value alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from optix_core.tuners.base import Mode
from optix_core.tuners.coordinates import CoordinateTuner, Distances, probed_axis

if TYPE_CHECKING:
    from optix_core.state import State
    from optix_core.tuners.judging import Judgement
    from optix_core.tuners.probe import Probe
    from optix_core.types import EvalMetrics, History, ParamBounds

_AGAIN, _REVERSED, _UNDECIDED = 1.2, 0.5, 1.5  # factors of a parameter's distance after each outcome
_WIDEST_IMPROVING, _WIDEST = 0.3, 0.5  # of the range


class BackoffOptimizer(CoordinateTuner):
    """Coordinate search whose steps grow while they are right and back off when the direction turns.

    Each trial probes one parameter on both sides of its value, inside its range: at a bound one arm is the value
    itself. The parameter goes to the better side, exactly as far as was probed, or stays. As in resilient
    backpropagation (Riedmiller & Braun 1993, doi:10.1109/ICNN.1993.298623) its distance grows by 1.2 after a success
    in the same direction and halves when the direction turns; after an undecided trial, which was too small to see,
    it grows by 1.5.

    Args:
        param_bounds: Tuning range per hyperparameter; None lets the loop fill in what the agent declares.
        perturbation_scale: First probe distance, as a part of the range, in (0, 0.5].
        min_delta: Smallest probe distance, in (0, perturbation_scale].
        gradient_threshold: A standardised difference of at most this is none (two-probe mode), >= 0.
        log_params: Names on a logarithmic scale; ``"1-gamma"`` puts ``1 - gamma`` on one. None: as for the bounds.
        mode: ``"branched"`` trains both arms from one state and moves where the paired interval excludes zero;
            ``"two_probe"`` probes during ordinary training and goes by the sign of the difference.
        seed: Root seed; None lets the loop fill in the run's (or takes a fresh one).
        windows_per_arm: Training windows per branch.
        every: At most one trial per so many evaluated windows; doubled while both arms score exactly the same.
        confidence: Of the interval that has to exclude zero before the centre moves (branched mode).

    Raises:
        ConfigError: An argument is outside its range.
    """

    label: ClassVar[str] = "backoff"

    def __init__(
        self,
        param_bounds: ParamBounds | None = None,
        perturbation_scale: float = 0.05,
        min_delta: float = 1e-4,
        gradient_threshold: float = 1e-10,
        *,
        log_params: Sequence[str] | None = None,
        mode: Mode = "branched",
        seed: int | None = None,
        windows_per_arm: int = 2,
        every: int = 8,
        confidence: float = 0.95,
    ) -> None:
        self._require("perturbation_scale", perturbation_scale, 0 < perturbation_scale <= 0.5, "in (0, 0.5]")
        small = 0 < min_delta <= perturbation_scale
        self._require("min_delta", min_delta, small, "in (0, perturbation_scale]")
        self._require("gradient_threshold", gradient_threshold, gradient_threshold >= 0, "0 or more")
        super().__init__(
            param_bounds,
            log_params,
            mode=mode,
            seed=seed,
            windows_per_arm=windows_per_arm,
            every=every,
            confidence=confidence,
        )
        self.gradient_threshold = gradient_threshold
        self._distances = Distances(common=perturbation_scale, narrowest=min_delta, widest=_WIDEST)
        self._directions: dict[str, int] = {}

    def judged(self, probe: Probe, found: Judgement) -> list[float]:
        """As far as was probed (no further step of its own)."""
        axis, _ = probed_axis(probe)
        if found.winner is None:
            self._distances.scale(axis.name, _REVERSED)
        elif found.decided:
            self._turned(probe, found.winner)
        elif self._distances.of(axis.name) < _WIDEST_IMPROVING:
            self._distances.scale(axis.name, _UNDECIDED)
        return [0.0] * len(probe.plus)

    def probed(self, probe: Probe, standard: float) -> dict[str, Any]:
        """The better arm, or the centre."""
        if abs(standard) <= self.gradient_threshold:
            return dict(probe.params)
        winner = 0 if standard > 0 else 1
        self._turned(probe, winner)
        return dict(probe.arms[winner])

    def _turned(self, probe: Probe, winner: int) -> None:
        """Adapt the distance to whether the parameter goes on in its direction."""
        axis, index = probed_axis(probe)
        arm = (probe.plus, probe.minus)[winner][index]
        direction = (arm > probe.centre[index]) - (arm < probe.centre[index])
        if direction == 0:  # at a bound, and that is best
            self._distances.scale(axis.name, _REVERSED)
            return
        if direction != self._directions.get(axis.name, direction):
            self._distances.scale(axis.name, _REVERSED)
        elif self._distances.of(axis.name) < _WIDEST_IMPROVING:
            self._distances.scale(axis.name, _AGAIN)
        self._directions[axis.name] = direction

    def on_improvement(self, metrics: EvalMetrics) -> None:
        """Progress is being made: larger probes, up to 0.3 of the range."""
        del metrics
        if self._distances.common < _WIDEST_IMPROVING:
            self._distances.common = min(self._distances.common * 1.2, _WIDEST_IMPROVING)

    def on_plateau(self, metrics_history: History) -> None:
        """Nothing moves: probes twice as large, up to 0.5 of the range, from the first parameter on."""
        del metrics_history
        self._distances.common = min(self._distances.common * 2.0, _WIDEST)
        self._turn = 0

    def own_state(self) -> State:
        """The last direction of every parameter besides."""
        return {**super().own_state(), "directions": dict(self._directions)}

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        """Take them up."""
        directions = {str(k): int(v) for k, v in state["directions"].items()}
        super().load_own_state(state)
        self._directions = directions
