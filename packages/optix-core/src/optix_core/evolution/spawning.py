"""Variants of an agent: hyperparameters moved a little on their tuning scales, weights with a little noise."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from optix_core.base_agent import BaseAgent
from optix_core.errors import ConfigError
from optix_core.evolution.trends import correlation, finite, gaps, observed_range, scores, trend
from optix_core.tuners.space import UnitSpace
from optix_core.types import EvalMetrics, HyperparamSet

MutationFn = Callable[[dict[str, Any]], Mapping[str, Any]]
"""Hyperparameters in, mutated ones out; names left out keep their values."""

FULL_PACE = 0.05
"""Share of the observed range per evaluation at which a rise counts as full speed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What a variant was made with.

    Attributes:
        origin: Snapshot that it came from; None if there was none and the agent was varied as it was.
        hyperparam_noise: Standard deviation of the move, as a share of each tuning range.
        weight_noise: Relative noise on the weights; None if the agent cannot perturb them.
        changed: Hyperparameters that took a new value: name to (before, after).
        not_taken: Values that the agent did not take: name to (asked for, in force).
    """

    origin: str | None
    hyperparam_noise: float
    weight_noise: float | None
    changed: dict[str, tuple[Any, Any]]
    not_taken: dict[str, tuple[Any, Any]]


def mutated(agent: BaseAgent, noise_scale: float, rng: np.random.Generator) -> dict[str, Any]:
    """The agent's hyperparameters after a Gaussian step of ``noise_scale`` in the unit cube of its tuning ranges.

    Steps end at the bounds; whole numbers stay whole; flags, words and what has no tuning range stay as they are.
    """
    params = agent.get_hyperparams().params
    space = UnitSpace.of(params, agent.default_param_bounds, agent.default_log_params)
    steps = rng.normal(0.0, noise_scale, size=len(space.axes))
    for axis, step in zip(space.axes, steps, strict=True):
        params[axis.name] = axis.value(axis.to_unit(params[axis.name]) + float(step))
    return params


def vary(
    agent: BaseAgent,
    *,
    noise_scale: float,
    weight_noise: float,
    rng: np.random.Generator,
    mutation_fn: MutationFn | None = None,
    origin: str | None = None,
) -> Variant:
    """Turn ``agent`` into a variant of itself.

    Raises:
        ConfigError: A noise is negative.
        HyperparamError: ``mutation_fn`` gave a name or value that the agent refuses; its weights are unchanged then.
    """
    for name, value in (("noise_scale", noise_scale), ("weight_noise", weight_noise)):
        if not 0 <= value < float("inf"):
            raise ConfigError(f"{name} is {value}; it must be a finite number of at least 0")
    before = agent.get_hyperparams().params
    wanted = mutated(agent, noise_scale, rng) if mutation_fn is None else dict(mutation_fn(dict(before)))
    agent.set_hyperparams(HyperparamSet(before | wanted))
    after = agent.get_hyperparams().params
    try:
        perturb(agent, weight_noise, int(rng.integers(0, 2**31)))
        perturbed = True
    except NotImplementedError:
        perturbed = False
    return Variant(
        origin=origin,
        hyperparam_noise=noise_scale,
        weight_noise=weight_noise if perturbed else None,
        changed={name: (before.get(name), v) for name, v in after.items() if before.get(name) != v},
        not_taken={
            name: (v, after.get(name))
            for name, v in wanted.items()
            if v != before.get(name) and after.get(name) == before.get(name)
        },
    )


def perturb(agent: BaseAgent, scale: float, seed: int | None) -> None:
    """Noise on the weights, from ``seed`` where the agent takes one.

    Without a seed of its own, an agent that was just restored would draw the very noise of the variant before.

    Raises:
        NotImplementedError: The agent cannot be perturbed.
    """
    method: Any = agent.perturb_weights
    if seed is not None and "seed" in inspect.signature(method).parameters:
        method(scale, seed=seed)
    else:
        method(scale)


def adaptive_noise_scale(
    history: Sequence[EvalMetrics], min_scale: float = 0.001, max_scale: float = 0.1, window: int = 10
) -> float:
    """How far to move hyperparameters: little while training rises and generalises, much when it is stuck.

    With ``t`` the slope per evaluation as a share of the observed range, over 0.05, clipped to [0, 1], the effect is
    ``t (1 - gap / 2) (1 - c / 2)``, where ``gap`` is the mean lead of training over validation as a share of the range
    and ``c`` is one minus their correlation, both clipped to [0, 1]. The scale falls linearly with it from
    ``max_scale`` to ``min_scale``.
    """
    newest, scale = history[-window:], observed_range(history)
    line = trend(scores(newest), scale)
    pace = 0.0 if line is None else min(max(line.slope / FULL_PACE, 0.0), 1.0)
    gap = gaps(newest)
    lead = min(max(float(np.mean(gap)) / scale, 0.0), 1.0) if gap and scale > 0 else 0.0
    pairs = [
        (m.metrics["train_score"], m.metrics["val_score"]) for m in newest if finite([m.generalization_gap])
    ]
    discord = 0.0
    if len(pairs) > 2:
        discord = min(max(1.0 - correlation([a for a, _ in pairs], [b for _, b in pairs]), 0.0), 1.0)
    effect = pace * (1.0 - 0.5 * lead) * (1.0 - 0.5 * discord)
    return max_scale - effect * (max_scale - min_scale)


def weight_noise_after(fruitless: int, improvement: float | None) -> float:
    """Relative noise on a variant's weights.

    Args:
        fruitless: Variants since the last one that proved better.
        improvement: By how much the last variant did, as a share of the observed range; None before the first and
            after a failure.

    Returns:
        After a success ``0.01 / (1 + improvement)``, within [0.005, 0.1]; else 0.01, doubled for every failure in a
        row, at most 0.1.
    """
    if improvement is not None:
        return min(max(0.01 / (1.0 + max(improvement, 0.0)), 0.005), 0.1)
    return min(0.1, 0.01 * 2.0 ** min(fruitless, 10))
