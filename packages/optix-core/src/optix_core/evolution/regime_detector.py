"""What kind of phase a score curve is in."""

from __future__ import annotations

from collections.abc import Sequence

from optix_core.errors import ConfigError
from optix_core.evolution.trends import observed_range, scores, trend
from optix_core.stats.student_t import t_survival
from optix_core.types import EvalMetrics

TRENDING, VOLATILE, RANGING = "trending", "volatile", "ranging"


class RegimeDetector:
    """Names the regime of the newest scores; unit and zero of the score do not matter.

    * ``"volatile"``: the scatter around their line exceeds ``volatility_threshold`` of the range observed in the whole
      history that is passed.
    * ``"trending"``: they rise or fall, and the slope differs from zero at significance ``trend_threshold`` (two-sided,
      with autocorrelation taken into account). :attr:`direction` says which way.
    * ``"ranging"``: neither, or fewer than three scores.

    Args:
        volatility_threshold: Share of the observed range, in (0, 1).
        trend_threshold: Error probability of calling a flat stretch a trend, in (0, 1).
        window: How many of the newest scores are looked at, at least 3.

    Attributes:
        direction: 1 if the last answer was a rise, -1 if it was a fall, else 0.

    Raises:
        ConfigError: A value is out of its range.
    """

    def __init__(
        self, volatility_threshold: float = 0.15, trend_threshold: float = 0.05, window: int = 10
    ) -> None:
        for name, value in (
            ("volatility_threshold", volatility_threshold),
            ("trend_threshold", trend_threshold),
        ):
            if not 0 < value < 1:
                raise ConfigError(f"{name} is {value}; it must be above 0 and below 1")
        if window < 3:
            raise ConfigError(f"window is {window}; a line with scatter needs at least 3 scores")
        self._volatility, self._significance, self._window = volatility_threshold, trend_threshold, window
        self.direction = 0

    def detect(self, history: Sequence[EvalMetrics]) -> str:
        """``"trending"``, ``"volatile"`` or ``"ranging"`` for a history, oldest first.

        Scores that are not finite are left out.
        """
        self.direction = 0
        line = trend(scores(history)[-self._window :], observed_range(history))
        if line is None:
            return RANGING
        if line.residual_sd > self._volatility:
            return VOLATILE
        if line.slope == 0.0 or not self._significant(line.slope, line.slope_se, line.dof):
            return RANGING
        self.direction = 1 if line.slope > 0 else -1
        return TRENDING

    def _significant(self, slope: float, error: float, dof: float) -> bool:
        return error == 0.0 or 2.0 * float(t_survival(abs(slope) / error, dof)) < self._significance
