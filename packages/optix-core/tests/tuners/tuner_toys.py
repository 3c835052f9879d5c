"""Toys in which the best hyperparameters are known, how tuners are driven on them, and their controls."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from optix_core.tuners import (
    AdaptiveOptimizer,
    BackoffOptimizer,
    MomentumOptimizer,
    PBTOptimizer,
    SPSAOptimizer,
    UnitSpace,
)
from optix_core.types import EvalMetrics, HyperparamSet

TUNERS: dict[str, Any] = {
    "spsa": SPSAOptimizer,
    "momentum": MomentumOptimizer,
    "backoff": BackoffOptimizer,
    "pbt": PBTOptimizer,
    "adaptive": AdaptiveOptimizer,
}
MODES = ("branched", "two_probe")
BOUNDS = {"lr": (1e-5, 1e-1), "gamma": (0.9, 0.999)}
LOG = ("lr", "1-gamma")
START: dict[str, Any] = {"lr": 3e-5, "gamma": 0.905, "kind": "tanh"}
SPACE = UnitSpace.of(START, BOUNDS, LOG)
EPISODES = 8


def make(name: str, mode: str = "branched", **options: Any) -> Any:
    """A tuner over :data:`BOUNDS`."""
    return TUNERS[name](BOUNDS, log_params=LOG, **{"seed": 0, "mode": mode, **options})


def position(params: dict[str, Any]) -> np.ndarray:
    """Where ``params`` lies in the unit cube."""
    return np.array([axis.to_unit(params[axis.name]) for axis in SPACE.axes])


@dataclass
class Quadratic:
    """Scores fall with the squared distance to an optimum, which may drift while windows pass.

    Attributes:
        noise: Standard deviation of one episode's return; a share ``pairing`` of its variance is common to all arms.
        drift: How far the optimum wanders over ``period`` windows.
    """

    noise: float = 0.05
    drift: float = 0.0
    period: int = 300
    pairing: float = 0.9
    seed: int = 0

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng([3, self.seed])

    def loss(self, params: dict[str, Any], window: int) -> float:
        """Squared distance to the present optimum."""
        optimum = 0.6 + self.drift * math.sin(2 * math.pi * window / self.period)
        return float(((position(params) - optimum) ** 2).sum())

    def returns(self, window: int, *arms: dict[str, Any]) -> list[list[float]]:
        """Returns of the same episodes for every arm."""
        common = self.rng.normal(size=EPISODES) * math.sqrt(self.pairing)
        own = math.sqrt(1 - self.pairing)
        return [
            [
                -self.loss(arm, window) + self.noise * (c + own * e)
                for c, e in zip(common, self.rng.normal(size=EPISODES), strict=True)
            ]
            for arm in arms
        ]


@dataclass
class Course:
    """What a tuner did.

    Attributes:
        values: Every set of values that came into force, arms too, in order.
        losses: Loss of the values in force, one per window of the main line.
    """

    values: list[dict[str, Any]]
    losses: list[float]

    @property
    def mean_loss(self) -> float:
        return float(np.mean(self.losses))


def drive(
    tuner: Any,
    toy: Quadratic,
    windows: int = 400,
    *,
    start: dict[str, Any] | None = None,
    transform: Callable[[float], float] = lambda score: score,
    commit: bool = True,
    history: list[EvalMetrics] | None = None,
) -> Course:
    """Run ``tuner`` as the loop does; windows of branches count. Without ``commit`` it is the sham."""
    begin = dict(start or START)
    params, history = dict(begin), [] if history is None else history
    course, window = Course([], []), len(history)
    end = window + windows
    while window < end:
        (returns,) = toy.returns(window, params)
        returns = [transform(r) for r in returns]
        score = math.fsum(returns) / len(returns)
        history.append(EvalMetrics(score, {}, len(history), 0.0, tuple(returns)))
        course.losses.append(toy.loss(params, window))
        window += 1
        trial = tuner.propose(HyperparamSet(dict(params)), history)
        if trial is not None:
            course.values += [dict(arm) for arm in trial.arms]
            window += trial.windows * len(trial.arms)
            arms = [[transform(r) for r in arm] for arm in toy.returns(window, *trial.arms)]
            verdict = tuner.conclude(trial, arms, paired=True)
            params = dict(verdict.params) if commit else params
        else:
            params = tuner.suggest(HyperparamSet(dict(params)), history).params
            if not commit and not tuner.is_probing:
                params = dict(begin)
        course.values.append(dict(params))
    return course


def random_walk(toy: Quadratic, windows: int = 400, *, step: float = 0.1, every: int = 4) -> Course:
    """Steps of the size and rhythm of plain SPSA, in random directions, inside the cube."""
    rng, course, params = np.random.default_rng([11, toy.seed]), Course([], []), dict(START)
    for window in range(windows):
        course.losses.append(toy.loss(params, window))
        if window % every == every - 1:
            moved = np.clip(position(params) + step * rng.choice((-1, 1), size=len(SPACE.axes)), 0, 1)
            params = {**params, **SPACE.values([float(u) for u in moved])}
        course.values.append(dict(params))
    return course
