"""Does online tuning beat its controls? A toy in which the truth is known, as a gate.

Progress V in [0, 1] follows ``V <- V + rate(theta) (1 - V)``, where the rate peaks at an optimum that lies 0.6 away
from the start, so that training starts 18 times too slow. A window's score is V plus noise of standard deviation s.
Every arm of the experiment gets the same 200 windows, branches and discarded work included. Paired episodes correlate
with 0.9.

Controls: fixed values; the sham, which probes in the same windows and never commits; a random walk; selection only,
which trains branches, goes on with the better one's weights and never takes its values.

Gates: branched SPSA reaches at least 0.9 at s = 0.03; its two-probe form is at least as good as a random walk at
s = 0.01; the sham stays at or below 0.5; every branched tuner beats random walk and selection only up to s = 0.03; from
the optimum, SPSA costs at most 10 %.

Usage: ``python dev.py bench tuning [runs]``; exit status 1 if a gate fails.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

from optix_core.base_optimizer import BaseOptimizer
from optix_core.tuners import (
    AdaptiveOptimizer,
    BackoffOptimizer,
    MomentumOptimizer,
    PBTOptimizer,
    SPSAOptimizer,
)
from optix_core.types import EvalMetrics, HyperparamSet

WINDOWS, DIMENSIONS, START, SLOWER = 200, 2, 0.6, 18.0
EPISODES, PAIRING = 10, 0.9
WIDTH = START**2 / (2 * math.log(SLOWER))
PEAK_RATE = SLOWER * (1 - (1 - 0.4) ** (1 / WINDOWS))  # a fixed bad start ends at 0.4
BOUNDS = {f"x{i}": (-0.2, 1.2) for i in range(DIMENSIONS)}  # wide enough that the start is always inside
OPTIMUM = 0.5


class Task:
    """The learner of the toy and its measurement noise."""

    def __init__(
        self, noise: float, rng: np.random.Generator, *, distance: float = START, windows: int = WINDOWS
    ) -> None:
        direction = rng.normal(size=DIMENSIONS)
        start = OPTIMUM + distance * direction / np.linalg.norm(direction)
        self.start = {f"x{i}": float(v) for i, v in enumerate(start)}
        self.noise, self.rng, self.progress, self.left = noise, rng, 0.0, windows

    def train(self, progress: float, params: dict[str, float], windows: int = 1) -> float:
        distance = sum((params[name] - OPTIMUM) ** 2 for name in BOUNDS)
        for _ in range(windows):
            progress += PEAK_RATE * math.exp(-distance / (2 * WIDTH)) * (1 - progress)
        self.left -= windows
        return progress

    def evaluate(self, *policies: float) -> list[tuple[float, ...]]:
        """Returns of the same episodes for each policy; the mean of each has standard deviation ``noise``."""
        shared = self.rng.normal(size=EPISODES)
        return [
            tuple(
                p
                + self.noise
                * math.sqrt(EPISODES)
                * (math.sqrt(PAIRING) * shared + math.sqrt(1 - PAIRING) * self.rng.normal(size=EPISODES))
            )
            for p in policies
        ]


def metrics(returns: tuple[float, ...], index: int) -> EvalMetrics:
    return EvalMetrics(float(np.mean(returns)), {}, index, 0.0, returns)


def fixed(task: Task, _seed: int) -> float:
    return task.train(0.0, task.start, task.left)


def random_walk(task: Task, _seed: int) -> float:
    """Steps of the size and rhythm of the two-probe form, in random directions."""
    params, progress = dict(task.start), 0.0
    while task.left:
        progress = task.train(progress, params)
        if task.left % 4 == 0:
            for name, (low, high) in BOUNDS.items():
                step = 0.1 * (high - low) * task.rng.choice((-1, 1))
                params[name] = float(np.clip(params[name] + step, low, high))
    return progress


TUNERS: dict[str, type[BaseOptimizer]] = {
    "spsa": SPSAOptimizer,
    "momentum": MomentumOptimizer,
    "backoff": BackoffOptimizer,
    "pbt": PBTOptimizer,
    "adaptive": AdaptiveOptimizer,
}


def in_training(task: Task, seed: int, *, tuner: str = "spsa", commit: bool = True, **options: Any) -> float:
    """Two probes in windows of ordinary training; the sham returns to the start after each."""
    probing: Any = TUNERS[tuner](BOUNDS, seed=seed, mode="two_probe", **options)
    params, progress, history = dict(task.start), 0.0, []
    while task.left:
        progress = task.train(progress, params)
        history.append(metrics(task.evaluate(progress)[0], len(history)))
        params = probing.suggest(HyperparamSet(params), history).params
        if not commit and not probing.is_probing:
            params = dict(task.start)
    return progress


def branched(task: Task, seed: int, *, tuner: str = "spsa", commit: bool = True, **options: Any) -> float:
    """Trials with branches; selection only keeps the better branch's weights and never its values."""
    branching: Any = TUNERS[tuner](BOUNDS, seed=seed, **options)
    params, progress, history = dict(task.start), 0.0, []
    while task.left:
        progress = task.train(progress, params)
        history.append(metrics(task.evaluate(progress)[0], len(history)))
        trial = branching.propose(HyperparamSet(params), history)
        if trial is None or trial.windows * len(trial.arms) > task.left:
            continue
        arms = [task.train(progress, arm, trial.windows) for arm in trial.arms]
        verdict = branching.conclude(trial, task.evaluate(*arms), paired=True)
        progress = progress if verdict.keep_arm is None else arms[verdict.keep_arm]
        params = verdict.params if commit else params
    return progress


Arm = Callable[[Task, int], float]

ARMS: dict[str, Arm] = {
    "fixed": fixed,
    "sham": partial(in_training, commit=False),
    "random walk": random_walk,
    "selection only": partial(branched, commit=False),
    **{name: partial(branched, tuner=name) for name in TUNERS},
    "spsa, wide": partial(branched, perturbation_scale=0.25, learning_rate=0.25),
    "spsa, 4 windows": partial(branched, windows_per_arm=4),
    **{f"{name}, two probes": partial(in_training, tuner=name) for name in TUNERS},
}
NOISES = (0.01, 0.03, 0.08)
FROM_THE_OPTIMUM: dict[str, Any] = {"distance": 0.0, "windows": 60}
"""What tuning costs where there is nothing to gain, while fixed values still learn."""


def table(
    runs: int, arms: Iterable[str] = tuple(ARMS), noises: Iterable[float] = NOISES, **start: Any
) -> dict[tuple[str, float], tuple[float, float]]:
    """Mean and standard error of the final progress per arm and noise."""
    found = {}
    for name in arms:
        for noise in noises:
            finals = [ARMS[name](Task(noise, np.random.default_rng([7, i]), **start), i) for i in range(runs)]
            found[name, noise] = (float(np.mean(finals)), float(np.std(finals) / math.sqrt(runs)))
    return found


def gates(found: dict[tuple[str, float], tuple[float, float]]) -> dict[str, bool]:
    mean = {key: value[0] for key, value in found.items()}
    return {
        "spsa >= 0.9 at s = 0.03": mean["spsa", 0.03] >= 0.9,
        "spsa, two probes >= random walk at s = 0.01": mean["spsa, two probes", 0.01]
        >= mean["random walk", 0.01],
        "sham <= 0.5": max(mean["sham", s] for s in NOISES) <= 0.5,
        **{
            f"{name} > random walk and selection only at s <= 0.03": all(
                mean[name, s] > max(mean["random walk", s], mean["selection only", s]) for s in (0.01, 0.03)
            )
            for name in TUNERS
        },
    }


def price(found: dict[tuple[str, float], tuple[float, float]]) -> dict[str, bool]:
    """The gate on what the default tuner may cost at a good start."""
    lost = max(1 - found["spsa", s][0] / found["fixed", s][0] for s in NOISES)
    return {f"from the optimum spsa costs at most 10 % (found {lost:.1%})": lost <= 0.1}


def show(title: str, found: dict[tuple[str, float], tuple[float, float]]) -> None:
    """One table."""
    print(title)
    print(f"{'':22}" + "".join(f"s = {s:<14}" for s in NOISES))
    for name in ARMS:
        cells = (found[name, s] for s in NOISES)
        print(f"{name:22}" + "".join(f"{m:.3f} ± {e:.3f}     " for m, e in cells))


def main(runs: int = 100) -> int:
    """Both tables and the gates; 1 if one fails."""
    found, costs = table(runs), table(max(runs // 3, 2), **FROM_THE_OPTIMUM)
    show(f"final progress, mean ± standard error of {runs} runs of {WINDOWS} windows", found)
    show(f"the same from the optimum, {max(runs // 3, 2)} runs of 60 windows", costs)
    verdicts = {**gates(found), **price(costs)}
    for name, passed in verdicts.items():
        print(f"{'pass' if passed else 'FAIL'}  {name}")
    return 0 if all(verdicts.values()) else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
