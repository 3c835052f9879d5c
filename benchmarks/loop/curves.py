# ruff: noqa: ARG001 (all families have one signature)
"""Synthetic learning curves: twelve families of mean curves, and the noise around them.

A curve has range 1 (its asymptote lies 1 above its start, except where the family says otherwise), so that a noise
of 0.08 is 8 % of
the range. Its time scale is drawn per seed: log-uniform from half to twice the nominal one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

LENGTH = 600
"""Evaluations per run; a run that has not stopped by then counts as stopped there, by its budget."""


@dataclass(frozen=True)
class Curve:
    """A mean curve.

    Attributes:
        mean: ``[length]`` true score over training time.
        asymptote: What counts as all there is to reach.
        collapse: Index of the first collapsed evaluation, if there is one.
        calm: The mean without the collapse.
    """

    mean: np.ndarray
    asymptote: float
    collapse: int | None = None
    calm: np.ndarray | None = None

    @property
    def recovered(self) -> np.ndarray:
        """The mean curve once a collapse was undone."""
        return self.mean if self.calm is None else self.calm

    @property
    def t95(self) -> int:
        """First index from which the mean is within 5 % of the asymptote (LENGTH if never)."""
        reached = np.flatnonzero(self.mean >= 0.95 * self.asymptote)
        return int(reached[0]) if reached.size else len(self.mean)

    @property
    def t99(self) -> int:
        reached = np.flatnonzero(self.mean >= 0.99 * self.asymptote)
        return int(reached[0]) if reached.size else len(self.mean)


def _logistic(t: np.ndarray, middle: float, width: float) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-(t - middle) / width))


def logistic(t, rng, s):  # 95 % at 95 s
    return Curve(_logistic(t, 60 * s, 12 * s), 1.0)


def exponential(t, rng, s):  # 95 % at 90 s
    return Curve(1.0 - np.exp(-t / (30 * s)), 1.0)


def logarithm(t, rng, s):  # still rising at the end: the asymptote is what is reached there
    mean = np.log1p(t / (10 * s))
    return Curve(mean / mean[-1], 1.0)


def ramp(t, rng, s):  # rises by 1 in 300 s evaluations and goes on at that rate
    mean = t / (300 * s)
    return Curve(mean, float(mean[-1]))


def linear_then_flat(t, rng, s):
    return Curve(np.minimum(t / (80 * s), 1.0), 1.0)


def staircase(t, rng, s):  # three steps with shelves of 50 s
    shelf = 50 * s
    return Curve(sum(_logistic(t, k * shelf - shelf / 2, 2.0) for k in (1, 2, 3)) / 3.0, 1.0)


def delayed_start(t, rng, s):
    return Curve(_logistic(t, 120 * s, 8 * s), 1.0)


def overshoot(t, rng, s):  # peaks 20 % above where it settles
    return Curve((1.0 - np.exp(-t / (20 * s))) + 0.25 * (t / (30 * s)) * np.exp(1 - t / (30 * s)), 1.0)


def collapse(t, rng, s):  # falls to the lowest fifth, 10 to 40 evaluations after 95 %
    rising = _logistic(t, 60 * s, 12 * s)
    at = int(95 * s) + int(rng.integers(10, 40))
    mean = np.where(t < at, rising, rng.uniform(0.0, 0.2))
    return Curve(mean, 1.0, collapse=at, calm=rising)


def oscillation(t, rng, s):  # settles on a swing of +-10 %
    return Curve(_logistic(t, 60 * s, 12 * s) * (1.0 + 0.1 * np.sin(2 * np.pi * t / (25 * s))), 1.0)


def flat(t, rng, s):
    return Curve(np.zeros_like(t), 0.0)


def drift(t, rng, s):  # reaches its best and then loses a third of it, slowly
    return Curve(_logistic(t, 60 * s, 12 * s) - np.clip((t - 120 * s) / (300 * s), 0.0, 1.0) / 3.0, 1.0)


def regime_switch(t, rng, s):  # the task becomes harder at once, then the agent recovers half of the loss
    at = 150 * s
    lost = np.where(t < at, 0.0, 0.3 + 0.3 * np.exp(-(t - at) / (40 * s)))
    return Curve(_logistic(t, 50 * s, 10 * s) - lost, 0.7)


FAMILIES: dict[str, Callable[[np.ndarray, np.random.Generator, float], Curve]] = {
    "logistic": logistic,
    "exponential": exponential,
    "logarithm": logarithm,
    "ramp": ramp,
    "linear_then_flat": linear_then_flat,
    "staircase": staircase,
    "delayed_start": delayed_start,
    "overshoot": overshoot,
    "collapse": collapse,
    "oscillation": oscillation,
    "flat": flat,
    "drift": drift,
    "regime_switch": regime_switch,
}
NOISE = (0.02, 0.08, 0.20)
PHI = (0.0, 0.5, 0.8)
TAILS = ("normal", "t3")


def make_curve(family: str, rng: np.random.Generator, length: int = LENGTH) -> Curve:
    """The mean curve of one seed."""
    scale = float(2.0 ** rng.uniform(-1.0, 1.0))
    return FAMILIES[family](np.arange(length, dtype=float), rng, scale)


def ar1_noise(rng: np.random.Generator, n: int, sd: float, phi: float, tails: str) -> np.ndarray:
    """Stationary AR(1) noise of standard deviation ``sd``; innovations normal, or Student-t with 3 degrees."""
    innovations = (
        rng.standard_normal(n + 100) if tails == "normal" else rng.standard_t(3, n + 100) / np.sqrt(3.0)
    )
    innovations *= np.sqrt(1.0 - phi * phi)
    values = np.empty_like(innovations)
    last = 0.0
    for i, e in enumerate(innovations.tolist()):
        last = phi * last + e
        values[i] = last
    return sd * values[100:]
