"""Gain sequences and scale-free gradient of simultaneous perturbation (SPSA), in the unit cube.

Spall (1998), "Implementation of the simultaneous perturbation algorithm for stochastic optimization", IEEE Transactions
on Aerospace and Electronic Systems 34(3), eq. 4 to 6 and section III.B for the exponents.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optix_core.state import State

ALPHA = 0.602  # exponent of the step gain a_k
GAMMA = 0.101  # exponent of the probe gain c_k
STABILITY = 10.0  # A: a tenth of the number of trials that a long run has
WIDEST_PROBE = 0.25  # of the range, on either side of the centre
_GROW, _SHRINK = 2.0, 0.8  # probe width after an undecided and after a decided trial
_MEMORY = 0.8  # weight of the past in the running scale of differences
_DIGITS = 9  # standardised differences are rounded to these, so that units of reward cannot leak in through round-off


@dataclass(slots=True)
class Gains:
    """Step and probe sizes over the trials of a run.

    ``a_k = step * ((1 + A) / (k + 1 + A))^.602`` starts at ``step``; ``c_k = probe / (k + 1)^.101``, times a factor
    that grows while trials stay undecided (the difference drowns in noise: probe wider) and shrinks back to 1.
    """

    probe: float
    step: float
    narrowest: float
    trials: int = 0
    widening: float = 1.0

    @property
    def a(self) -> float:
        """Present step size."""
        return self.step * ((1.0 + STABILITY) / (self.trials + 1.0 + STABILITY)) ** ALPHA

    @property
    def c(self) -> float:
        """Present probe distance from the centre."""
        wide = self.probe * self.widening / (self.trials + 1.0) ** GAMMA
        return max(min(wide, max(WIDEST_PROBE, self.probe)), self.narrowest)

    def widen(self, factor: float = _GROW) -> None:
        """Probe wider from now on."""
        self.widening = min(self.widening * factor, max(WIDEST_PROBE / self.probe, 1.0) * 2)

    def narrow(self, factor: float = _SHRINK) -> None:
        """Probe narrower from now on, down to the plain sequence."""
        self.widening = max(self.widening * factor, 1.0)

    def state_dict(self) -> State:
        """What changes."""
        return {"trials": self.trials, "widening": self.widening}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state``."""
        trials, widening = int(state["trials"]), float(state["widening"])
        self.trials, self.widening = trials, widening


@dataclass(slots=True)
class DifferenceScale:
    """Running root mean square of score differences: dividing by it removes the unit of the reward."""

    mean_square: float | None = None

    def standardise(self, difference: float) -> float:
        """``difference`` in units of the running scale, which it updates first; 0 while all differences were 0."""
        square = difference * difference
        before = self.mean_square
        self.mean_square = square if not before else _MEMORY * before + (1.0 - _MEMORY) * square
        if self.mean_square == 0:
            return 0.0
        return round(difference / math.sqrt(self.mean_square), _DIGITS)


def gradient(
    difference: float, plus: Sequence[float], minus: Sequence[float], c: float, clip: float
) -> list[float]:
    """Spall's estimate per coordinate, from a standardised difference, clipped to ``±clip``.

    The denominator is the distance that really lay between the arms, in units of the intended ``2c``: where a bound or
    rounding to whole numbers cut a probe short, the slope is steeper, and where the arms coincide nothing was learnt.

    Args:
        difference: Score of the plus arm minus that of the minus arm, in standard units.
        plus: Position of the plus arm in the unit cube.
        minus: Position of the minus arm.
        c: Intended distance of either from the centre.
        clip: Largest magnitude of a coordinate.
    """
    slopes: list[float] = []
    for p, m in zip(plus, minus, strict=True):
        distance = (p - m) / (2.0 * c)
        slope = difference / distance if distance else 0.0
        slopes.append(min(max(slope, -clip), clip))
    return slopes
