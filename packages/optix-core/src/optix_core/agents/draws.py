"""Batches from replay as an agent's networks see them, one or several for one compiled call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.agents.experience import prioritized_rows
from optix_core.agents.normalizing import Normalizers
from optix_core.replay import HindsightReplay, ReplayBuffer
from optix_core.rl.masking import split_masks


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """A draw from replay.

    Attributes:
        observations: ``[B, *obs]``, normalised, without masks; structured for observations with parts.
        actions: ``[B]`` or ``[B, A]`` as the policy emitted them.
        rewards: ``[B]`` float32, summed over n steps.
        discounts: ``[B]`` float32, what the value of ``following`` counts; 0 where the episode terminated.
        following: ``[B, *obs]``, after the n-th step, as ``observations``.
        masks: ``[B, A]`` bool, the actions allowed in ``following``; None if all always are.
        weights: ``[B]`` float32 importance weights; ones where the draw was uniform.
        indices: ``[B]``, for priorities.
    """

    observations: Any
    actions: NDArray[Any]
    rewards: NDArray[np.float32]
    discounts: NDArray[np.float32]
    following: Any
    masks: NDArray[np.bool_] | None
    weights: NDArray[np.float32]
    indices: NDArray[np.int64]


def draw(
    replay: ReplayBuffer | HindsightReplay,
    hp: Mapping[str, Any],
    beta: float,
    normalizers: Normalizers,
    rng: np.random.Generator,
) -> Draw:
    """``hp["batch_size"]`` rows with ``n_step`` returns; ``beta`` is read by prioritised replay only."""
    kind: dict[str, Any] = {"n_step": hp["n_step"], "gamma": hp["gamma"]}
    if prioritized_rows(replay) is not None:
        kind["beta"] = beta
    batch = replay.sample(hp["batch_size"], rng, **kind)
    following, masks = split_masks(batch.next_observations)
    seen, normal = split_masks(batch.observations)[0], normalizers.observations
    return Draw(
        observations=normal(seen),
        actions=batch.actions,
        rewards=batch.rewards,
        discounts=batch.discounts,
        following=normal(following),
        masks=masks,
        weights=batch.weights,
        indices=batch.indices,
    )


def stacked(draws: Sequence[Draw]) -> Draw:
    """K draws as one whose arrays are ``[K, B, ...]``."""
    found: dict[str, Any] = {}
    for name in (field.name for field in fields(Draw)):
        parts = [getattr(one, name) for one in draws]
        found[name] = None if parts[0] is None else np.stack(parts)
    return Draw(**found)
