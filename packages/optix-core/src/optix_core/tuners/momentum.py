"""Adam on standardised differences, one hyperparameter at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from optix_core.tuners.base import Mode
from optix_core.tuners.coordinates import CoordinateTuner, Distances, probed_axis
from optix_core.tuners.gains import WIDEST_PROBE, gradient

if TYPE_CHECKING:
    from optix_core.state import State
    from optix_core.tuners.judging import Judgement
    from optix_core.tuners.probe import Probe
    from optix_core.types import ParamBounds

_CLIP = 10.0  # standardised slope at most: a probe cut short by a bound must not dominate the second moment
_WIDER, _NARROWER = 2.0, 0.8  # probe distance of a parameter after an undecided and after a decided trial


class MomentumOptimizer(CoordinateTuner):
    """Follows each hyperparameter's slope with Adam's moments (Kingma & Ba 2015, arXiv:1412.6980, algorithm 1).

    Each trial measures one parameter on both sides of its value. Its slope, in units of the running scale of
    differences, enters that parameter's first and second moment; the step is ``alpha * m / (sqrt(v) + eps)`` in the
    unit cube, from the centre and never from a probe. In branched mode a step is taken only where the paired interval
    excludes zero, at least as far as the better arm; undecided trials feed the moments only, and probe wider next time.

    Args:
        param_bounds: Tuning range per hyperparameter; None lets the loop fill in what the agent declares.
        alpha: Step size, as a part of the range, in (0, 1].
        beta1: Decay of the first moment, in [0, 1).
        beta2: Decay of the second moment, in [0, 1).
        eps: Added to the root of the second moment, > 0; slopes are standardised, so it is dimensionless.
        probe_scale: First probe distance, as a part of the range, in (0, 0.5].
        min_delta: Smallest probe distance, in (0, probe_scale].
        log_params: Names on a logarithmic scale; ``"1-gamma"`` puts ``1 - gamma`` on one. None: as for the bounds.
        mode: ``"branched"`` trains both arms from one state; ``"two_probe"`` probes during ordinary training.
        seed: Root seed; None lets the loop fill in the run's (or takes a fresh one).
        windows_per_arm: Training windows per branch.
        every: At most one trial per so many evaluated windows; doubled while both arms score exactly the same.
        confidence: Of the interval that has to exclude zero before the centre moves (branched mode).

    Raises:
        ConfigError: An argument is outside its range.
    """

    label: ClassVar[str] = "momentum"

    def __init__(
        self,
        param_bounds: ParamBounds | None = None,
        alpha: float = 0.05,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        probe_scale: float = 0.05,
        min_delta: float = 1e-7,
        *,
        log_params: Sequence[str] | None = None,
        mode: Mode = "branched",
        seed: int | None = None,
        windows_per_arm: int = 2,
        every: int = 8,
        confidence: float = 0.95,
    ) -> None:
        self._require("alpha", alpha, 0 < alpha <= 1, "in (0, 1]")
        self._require("beta1", beta1, 0 <= beta1 < 1, "in [0, 1)")
        self._require("beta2", beta2, 0 <= beta2 < 1, "in [0, 1)")
        self._require("eps", eps, eps > 0, "above 0")
        self._require("probe_scale", probe_scale, 0 < probe_scale <= 0.5, "in (0, 0.5]")
        self._require("min_delta", min_delta, 0 < min_delta <= probe_scale, "in (0, probe_scale]")
        super().__init__(
            param_bounds,
            log_params,
            mode=mode,
            seed=seed,
            windows_per_arm=windows_per_arm,
            every=every,
            confidence=confidence,
        )
        self.alpha, self.beta1, self.beta2, self.eps = alpha, beta1, beta2, eps
        self._distances = Distances(
            common=probe_scale, narrowest=min_delta, widest=max(WIDEST_PROBE, probe_scale)
        )
        self._moments: dict[str, tuple[float, float, int]] = {}

    def judged(self, probe: Probe, found: Judgement) -> list[float]:
        """Adam's step for the parameter that was probed."""
        axis, _ = probed_axis(probe)
        if found.winner is None:
            self._distances.scale(axis.name, 0.5)
            return [0.0] * len(probe.plus)
        if found.decided:  # back towards the plain distance, not below it
            plain = self._distances.common / self._distances.of(axis.name)
            self._distances.scale(axis.name, max(_NARROWER, min(plain, 1.0)))
        else:
            self._distances.scale(axis.name, _WIDER)
        return self._steps(probe, found.standard)

    def probed(self, probe: Probe, standard: float) -> dict[str, Any]:
        """Adam's step from the centre; none where the probes made no difference at all."""
        steps = self._steps(probe, standard)
        return self._prober.moved(probe, steps if standard else [0.0] * len(steps))

    def _steps(self, probe: Probe, standard: float) -> list[float]:
        axis, index = probed_axis(probe)
        slope = gradient(standard, probe.plus, probe.minus, probe.c, _CLIP)[index]
        m, v, n = self._moments.get(axis.name, (0.0, 0.0, 0))
        m, v, n = (
            self.beta1 * m + (1 - self.beta1) * slope,
            self.beta2 * v + (1 - self.beta2) * slope**2,
            n + 1,
        )
        self._moments[axis.name] = (m, v, n)
        m_hat, v_hat = m / (1 - self.beta1**n), v / (1 - self.beta2**n)
        steps = [0.0] * len(probe.plus)
        steps[index] = self.alpha * m_hat / (math.sqrt(v_hat) + self.eps)
        return steps

    def own_state(self) -> State:
        """The moments besides."""
        return {**super().own_state(), "moments": {name: list(m) for name, m in self._moments.items()}}

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        """Take them up."""
        moments = {str(k): (float(m), float(v), int(n)) for k, (m, v, n) in state["moments"].items()}
        super().load_own_state(state)
        self._moments = moments
