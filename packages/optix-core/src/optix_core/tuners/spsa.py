"""SPSA: all tunable hyperparameters are perturbed at once, and two measurements give a direction.

A hyperparameter acts on how fast the score improves, not on the score, so measurements of two windows in a row are
confounded by the learning itself. The default mode therefore trains two *branches* from the same state, and compares
them on the same episodes. The plain form, which probes during ordinary training, is kept as ``mode="two_probe"``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from optix_core.tuners.base import Mode
from optix_core.tuners.gains import Gains, gradient
from optix_core.tuners.judging import Judgement
from optix_core.tuners.probe import Probe
from optix_core.tuners.two_arm import TwoArmTuner

if TYPE_CHECKING:
    from optix_core.state import State
    from optix_core.types import EvalMetrics, History, ParamBounds


class SPSAOptimizer(TwoArmTuner):
    """Simultaneous-perturbation tuner on the normalised space of :mod:`optix_core.tuners.space`.

    Scores enter only as standardised differences, so their unit and offset change nothing.

    Args:
        param_bounds: Tuning range per hyperparameter; None lets the loop fill in what the agent declares.
        perturbation_scale: First probe distance c, as a part of the range, in (0, 0.5].
        learning_rate: First step size a, as a part of the range, in (0, 1].
        min_perturbation: Smallest probe distance, in (0, perturbation_scale].
        gradient_clip: Largest standardised slope per parameter, > 0.
        log_params: Names on a logarithmic scale; ``"1-gamma"`` puts ``1 - gamma`` on one. None: as above.
        warmup_episodes: Evaluated windows before the first trial.
        mode: ``"branched"`` trains both arms from one state; ``"two_probe"`` probes during ordinary training.
        seed: Root seed of the directions; None lets the loop fill in the run's (or takes a fresh one).
        windows_per_arm: Training windows per branch.
        every: At most one trial per so many evaluated windows; those inside a trial don't count. While both arms score
            exactly the same (a ceiling), the wait doubles with every trial, up to eight times.
        confidence: Of the interval that has to exclude zero before the centre moves (branched mode).

    Raises:
        ConfigError: An argument is outside its range.
    """

    label: ClassVar[str] = "spsa"

    def __init__(
        self,
        param_bounds: ParamBounds | None = None,
        perturbation_scale: float = 0.05,
        learning_rate: float = 0.1,
        min_perturbation: float = 1e-4,
        gradient_clip: float = 1.0,
        log_params: Sequence[str] | None = None,
        warmup_episodes: int = 0,
        *,
        mode: Mode = "branched",
        seed: int | None = None,
        windows_per_arm: int = 2,
        every: int = 8,
        confidence: float = 0.95,
    ) -> None:
        self._require("perturbation_scale", perturbation_scale, 0 < perturbation_scale <= 0.5, "in (0, 0.5]")
        self._require("learning_rate", learning_rate, 0 < learning_rate <= 1, "in (0, 1]")
        small = 0 < min_perturbation <= perturbation_scale
        self._require("min_perturbation", min_perturbation, small, "in (0, perturbation_scale]")
        self._require("gradient_clip", gradient_clip, gradient_clip > 0, "above 0")
        super().__init__(
            param_bounds,
            log_params,
            mode=mode,
            seed=seed,
            windows_per_arm=windows_per_arm,
            every=every,
            confidence=confidence,
            warmup_episodes=warmup_episodes,
        )
        self.gradient_clip = gradient_clip
        self._gains = Gains(probe=perturbation_scale, step=learning_rate, narrowest=min_perturbation)

    def draw_probe(self, params: Mapping[str, Any]) -> Probe | None:
        """All parameters at once, in a random direction."""
        return self._prober.draw(params, self._gains.c)

    def probe_details(self, probe: Probe) -> dict[str, Any]:
        """Number of the trial and the gains."""
        return {"trial": self._gains.trials + 1, "probe": probe.c, "step": self._gains.a}

    def judged(self, probe: Probe, found: Judgement) -> list[float]:
        """Spall's step; the probe widens after an undecided trial and shrinks after any other."""
        self._gains.trials += 1
        if found.winner is None:
            self._gains.narrow(0.5)
        elif found.decided:
            self._gains.narrow()
        else:
            self._gains.widen()
        return self._steps(probe, found.standard)

    def probed(self, probe: Probe, standard: float) -> dict[str, Any]:
        """Spall's step from the centre."""
        self._gains.trials += 1
        return self._prober.moved(probe, self._steps(probe, standard))

    def _steps(self, probe: Probe, standard: float) -> list[float]:
        slopes = gradient(standard, probe.plus, probe.minus, probe.c, self.gradient_clip)
        return [self._gains.a * slope for slope in slopes]

    def own_state(self) -> State:
        """The gains."""
        return {"gains": self._gains.state_dict()}

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        """Take up the gains."""
        self._gains.load_state_dict(state["gains"])

    def on_improvement(self, metrics: EvalMetrics) -> None:
        """Progress is being made: probe more gently."""
        del metrics
        self._gains.narrow()

    def on_plateau(self, metrics_history: History) -> None:
        """Nothing moves: probe twice as far."""
        del metrics_history
        self._gains.widen(2.0)
