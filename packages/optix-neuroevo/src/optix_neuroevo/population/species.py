"""Species: genomes that are alike compete with each other only, so that a new structure has time to get good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from optix_core.state import State
from optix_neuroevo.population.genome import Genome, distance
from optix_neuroevo.population.settings import PopulationSettings


@dataclass(slots=True)
class Species:
    """Genomes that are alike.

    Attributes:
        number: Its name, never given to another one.
        representative: Members are those within the threshold of it; a random member of the last generation.
        born: In which generation.
        best: Largest fitness that a member ever had.
        improved: Generation in which ``best`` was reached.
        members: Positions in the population, best first once they were evaluated.
    """

    number: int
    representative: Genome
    born: int
    best: float = -np.inf
    improved: int = 0
    members: list[int] = field(default_factory=list[int])

    def state_dict(self) -> State:
        """Plain data."""
        return {
            "number": self.number, "representative": self.representative.to_state(), "born": self.born,
            "best": self.best, "improved": self.improved, "members": list(self.members),
        }  # fmt: skip

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """What :meth:`state_dict` described."""
        return cls(
            int(state["number"]), Genome.from_state(state["representative"]), int(state["born"]),
            float(state["best"]), int(state["improved"]), [int(m) for m in state["members"]],
        )  # fmt: skip


def speciate(
    genomes: Sequence[Genome],
    species: Sequence[Species],
    settings: PopulationSettings,
    *,
    threshold: float,
    generation: int,
    next_number: int,
) -> tuple[list[Species], int]:
    """Every genome joins the oldest species whose representative is near enough, or founds one.

    Returns:
        Species that have members, oldest first, and the next number. ``species`` are changed: their members.
    """
    found = list(species)
    for s in found:
        s.members = []
    for at, genome in enumerate(genomes):
        home = next((s for s in found if distance_of(s.representative, genome, settings) < threshold), None)
        if home is None:
            home = Species(next_number, genome, generation, improved=generation)
            next_number += 1
            found.append(home)
        home.members.append(at)
    return [s for s in found if s.members], next_number


def distance_of(a: Genome, b: Genome, settings: PopulationSettings) -> float:
    """The distance with the coefficients of the settings."""
    return distance(
        a, b, unmatched_weight=settings.unmatched_weight, number_weight=settings.number_weight,
        small=settings.small,
    )  # fmt: skip


def judge(
    species: Sequence[Species],
    fitness: Sequence[float],
    settings: PopulationSettings,
    *,
    generation: int,
    improved: int,
) -> tuple[list[Species], dict[int, str]]:
    """Rank members, note progress, and say which species may have offspring.

    Args:
        species: With members; changed.
        fitness: Of every genome.
        settings: What stagnation is.
        generation: The present one.
        improved: Generation in which the population's champion last became better.

    Returns:
        Those that may, and why each of the others may not, by number.
    """
    for s in species:
        s.members.sort(key=lambda at: -fitness[at])
        top = fitness[s.members[0]]
        if top > s.best:
            s.best, s.improved = top, generation
    ranked = sorted(species, key=lambda s: -fitness[s.members[0]])
    reasons: dict[int, str] = {}
    for rank, s in enumerate(ranked):
        if rank and generation - s.improved >= settings.stagnation:
            reasons[s.number] = f"no better champion for {generation - s.improved} generations"
        elif rank > 1 and generation - improved >= settings.standstill:
            reasons[s.number] = f"the population has stood still for {generation - improved} generations"
    return [s for s in species if s.number not in reasons], reasons


def offspring(species: Sequence[Species], fitness: Sequence[float], size: int) -> list[int]:
    """How many children each species has: ``size`` in all, in proportion to shared fitness.

    Fitness sharing divides a genome's fitness by the size of its species (Stanley & Miikkulainen 2002, section 3.3), so
    the sum over a species is its mean. Fitness is counted from the worst genome of these species, so it may be
    negative; what is left by rounding down goes to the largest remainders, then to the species that come first.
    """
    means = np.array([np.mean([fitness[at] for at in s.members]) for s in species])
    shared = means - min(fitness[at] for s in species for at in s.members)
    if not shared.sum() > 0:
        shared = np.ones(len(species))
    exact = shared / shared.sum() * size
    counts = np.floor(exact + 1e-9).astype(int)
    for at in np.argsort(-(exact - counts), kind="stable")[: size - int(counts.sum())]:
        counts[at] += 1
    return counts.tolist()
