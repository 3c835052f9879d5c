"""Members of a population, and who copies whom."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from optix_core.state import State
from optix_core.tuners.population import perturbed
from optix_core.tuners.space import UnitSpace

Schedule = tuple[tuple[int, dict[str, Any]], ...]
"""Hyperparameters along a lineage: from which environment step on, and their values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One place in a population.

    Attributes:
        number: Which place, from 0.
        params: Hyperparameters of its next interval, or of the last one if there is no next.
        state: The agent's, after its last interval; None before the first.
        steps: Environment steps that its weights have learned from, those of their former owners included.
        score: Mean return of the last evaluation; None if there was none, or the interval failed.
        parent: Whose weights and hyperparameters it took over after the last interval; None: it kept its own.
        schedule: Hyperparameters along its lineage.
    """

    number: int
    params: dict[str, Any]
    state: State | None = None
    steps: int = 0
    score: float | None = None
    parent: int | None = None
    schedule: Schedule = ()

    def begins(self) -> Member:
        """With the present hyperparameters entered in its schedule, if they are new there."""
        if self.schedule and self.schedule[-1][1] == self.params:
            return self
        return replace(self, schedule=(*self.schedule, (self.steps, dict(self.params))))


def founders(
    params: Mapping[str, Any], space: UnitSpace, n: int, rng: np.random.Generator
) -> tuple[Member, ...]:
    """The first generation: ``params`` as they are, and ``n - 1`` drawn uniformly from the whole space."""
    made = [Member(number=0, params=dict(params))]
    for k in range(1, n):
        drawn = space.values(rng.random(len(space.axes)).tolist())
        made.append(Member(number=k, params={**params, **drawn}))
    return tuple(made)


def ranked(members: Sequence[Member]) -> list[Member]:
    """Best first; those without a score last. Equal scores keep their order."""
    return sorted(members, key=lambda m: (-(-math.inf if m.score is None else m.score), m.number))


def next_generation(
    members: Sequence[Member], space: UnitSpace, *, share: float, scale: float, rng: np.random.Generator
) -> tuple[Member, ...]:
    """Truncation selection: the last copy the first, and try hyperparameters nearby (algorithm 1 of the paper).

    The lowest ``share`` of the population (rounded down, at least one) copies members of the highest, drawn at random,
    as far as these are truly ahead; whoever has no score copies as well.

    Args:
        members: After an interval.
        space: What is tuned, and on which scales.
        share: Part of the population, in (0, 0.5].
        scale: Half-width of the change of copied values, as a part of each range.
        rng: Draws whom to copy, and the changes.
    """
    order = ranked(members)
    k = max(1, int(share * len(order)))
    top = [m for m in order[:k] if m.score is not None and m.state is not None]
    last = {m.number for m in order[-k:]}
    made: list[Member] = []
    for member in members:
        chosen = None
        if top and (member.number in last or member.score is None):
            chosen = top[int(rng.integers(len(top)))]
            if member.score is not None and not _ahead(chosen, member):
                chosen = None
        if chosen is None:
            made.append(replace(member, parent=None))
            continue
        params = perturbed(space, chosen.params, {}, scale, rng)
        made.append(replace(chosen, number=member.number, params=params, parent=chosen.number))
    return tuple(made)


def _ahead(one: Member, other: Member) -> bool:
    return one.score is not None and other.score is not None and one.score > other.score
