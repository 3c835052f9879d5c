"""Which kind of tuner suits what the scores look like, decided with hysteresis."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from optix_core.state import State

WINDOW = 20
"""Newest scores that are looked at."""
_SMOOTHED = 5  # scores averaged for the gap, so that one lucky evaluation is no reference
_NOISE = (
    10.0  # the gap is a share of the range of scores, but of at least so many standard deviations of noise
)
_DIGITS = 9  # statistics are rounded to these, so that units of reward cannot leak in through round-off
_DEGENERATE = 1e-9  # residuals below this share of the largest score are rounding


@lru_cache(maxsize=WINDOW + 1)
def _residual_maker(n: int) -> NDArray[np.float64]:
    """``[n, n]`` projection that removes the best parabola from n scores."""
    t = np.linspace(-1.0, 1.0, n)
    basis, _ = np.linalg.qr(np.stack([np.ones(n), t, t * t], axis=1))
    return np.eye(n) - basis @ basis.T


def _unit(values: Iterable[float]) -> float:
    """A power of two near the largest magnitude: dividing by it is exact, and squares cannot overflow."""
    largest = max(map(abs, values), default=0.0)
    return math.ldexp(1.0, math.frexp(largest)[1] - 1) if largest > 0 else 1.0


def detrended(scores: Sequence[float]) -> NDArray[np.float64]:
    """What a least-squares parabola leaves of ``scores``, in units of :func:`_unit`; zeros where that is rounding."""
    x = np.asarray(scores, np.float64) / _unit(scores)
    residuals: NDArray[np.float64] = _residual_maker(len(x)) @ (x - x[-1])
    if float(np.abs(residuals).max(initial=0.0)) <= _DEGENERATE:
        return np.zeros_like(residuals)
    return residuals


def lag1_autocorrelation(scores: Sequence[float], min_history: int) -> float | None:
    """Lag-1 autocorrelation of the detrended scores; None for fewer than ``min_history``, 0 where nothing is left.

    A learning curve alone is no correlation: a parabola is taken out first. That removes correlation from white noise,
    too; its expectation ``sum_t M[t, t + 1] / trace(M)``, with the residual maker M, is therefore added back.
    """
    n = len(scores)
    if n < max(min_history, 5):
        return None
    residuals = detrended(scores)
    power = float(residuals @ residuals)
    if power == 0:
        return 0.0
    maker = _residual_maker(n)
    bias = float(np.trace(maker, offset=1) / np.trace(maker))
    found = float(residuals[:-1] @ residuals[1:]) / power - bias
    return round(min(max(found, -1.0), 1.0), _DIGITS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """One change of tuner.

    Attributes:
        before: Who leaves.
        after: Who takes over.
        autocorrelation: What the decision was based on, None as long as there are too few scores.
        gap: Present level minus best level, as a share of the range of scores; None as above.
    """

    before: str
    after: str
    autocorrelation: float | None
    gap: float | None

    def to_log(self) -> dict[str, Any]:
        """The numbers under their names in the decision log."""
        return {
            "from": self.before,
            "to": self.after,
            "autocorrelation": self.autocorrelation,
            "gap": self.gap,
        }


@dataclass(slots=True, kw_only=True)
class Router:
    """Looks at every score and says which tuner is to be active.

    In order: a gap below ``-gap_threshold`` asks for ``pbt``; autocorrelation above ``autocorr_threshold`` for
    ``momentum``, below its negative for ``backoff``; anything else for ``spsa``.

    Attributes:
        autocorr_threshold: In (0, 1).
        gap_threshold: Share of the range of scores, > 0.
        patience: Evaluations that the active tuner gets at least.
        confirmation: Evaluations in a row that must ask for the same other tuner.
        min_history: Scores needed for an autocorrelation.
        active: Who is active.
    """

    autocorr_threshold: float
    gap_threshold: float
    patience: int
    confirmation: int
    min_history: int
    active: str = "spsa"
    scores: deque[float] = field(default_factory=lambda: deque[float](maxlen=WINDOW))
    highest: float | None = None
    lowest: float | None = None
    wanted: str | None = None
    confirmed: int = 0
    served: int = 0

    def see(self, score: float) -> Switch | None:
        """Take in one score (non-finite ones are left out) and switch if it is time."""
        if not math.isfinite(score):
            return None
        self.scores.append(score)
        self.served += 1
        rho = lag1_autocorrelation(self.scores, self.min_history)
        gap = self._gap()
        target = self._target(rho, gap)
        if target == self.active:
            self.wanted, self.confirmed = None, 0
            return None
        if self.served <= self.patience:
            return None
        self.confirmed = self.confirmed + 1 if target == self.wanted else 1
        self.wanted = target
        if self.confirmed < self.confirmation:
            return None
        switch = Switch(before=self.active, after=target, autocorrelation=rho, gap=gap)
        self.active, self.wanted, self.confirmed, self.served = target, None, 0, 0
        return switch

    def _target(self, rho: float | None, gap: float | None) -> str:
        if gap is not None and gap < -self.gap_threshold:
            return "pbt"
        if rho is not None and rho > self.autocorr_threshold:
            return "momentum"
        if rho is not None and rho < -self.autocorr_threshold:
            return "backoff"
        return "spsa"

    def _gap(self) -> float | None:
        """Present level minus the best ever, as a share of the range, or of the noise where that is larger."""
        if len(self.scores) < _SMOOTHED:
            return None
        unit = _unit(self.scores)
        level = math.fsum(score / _SMOOTHED for score in list(self.scores)[-_SMOOTHED:])
        self.highest = level if self.highest is None else max(self.highest, level)
        self.lowest = level if self.lowest is None else min(self.lowest, level)
        if len(self.scores) < self.min_history:  # the noise is not known yet
            return None
        residuals = detrended(self.scores)
        noise = math.sqrt(float(residuals @ residuals) / max(len(residuals) - 3, 1))
        best, worst = self.highest / unit, self.lowest / unit
        span = max(best - worst, _NOISE * noise)
        rounding = _DEGENERATE * max(abs(best), abs(worst))
        return round((level / unit - best) / span, _DIGITS) if span > rounding else 0.0

    def state_dict(self) -> State:
        """What changes."""
        return {
            "active": self.active,
            "scores": list(self.scores),
            "highest": self.highest,
            "lowest": self.lowest,
            "wanted": self.wanted,
            "confirmed": self.confirmed,
            "served": self.served,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state``."""
        scores = deque((float(s) for s in state["scores"]), maxlen=WINDOW)
        confirmed, served = int(state["confirmed"]), int(state["served"])
        self.active, self.wanted = str(state["active"]), state["wanted"]
        self.highest, self.lowest = state["highest"], state["lowest"]
        self.scores, self.confirmed, self.served = scores, confirmed, served
