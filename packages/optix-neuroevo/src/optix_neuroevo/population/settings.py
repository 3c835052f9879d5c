"""The numbers of an evolution, and what they may be."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from optix_core.errors import ConfigError

_SHARES = (
    "survival", "crossover", "between_species", "average", "perturb", "replace",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class PopulationSettings:
    """How a population evolves.

    Defaults are those of Stanley & Miikkulainen 2002 (section 4.1) where the paper names a number and has the option.

    Attributes:
        size: Genomes per generation, at least 2.
        threshold: Compatibility distance below which two genomes are of one species.
        unmatched_weight: What the share of unmatched edges counts in the distance (the paper's c1 and c2).
        number_weight: What the mean difference of matched numbers counts in it (the paper's c3).
        small: Genomes of fewer edges count unmatched edges themselves instead of their share.
        target_species: Move the threshold after every generation by ``threshold_step`` towards this many species;
            None: it stays.
        threshold_step: See ``target_species``.
        stagnation: Generations without a better champion after which a species has no offspring; the species of the
            population's champion always has.
        standstill: Generations without a better champion of the population after which only the two best species have
            offspring.
        elite_from: A species of at least this many members keeps its champion as it is.
        survival: Share of a species, the best of it, that may be parents.
        crossover: Share of offspring that has two parents.
        between_species: Share of those whose second parent is of another species.
        average: Share of crossovers that average matched numbers; the others pick each from either parent.
        perturb: Share of offspring whose numbers are perturbed.
        replace: Share of perturbed numbers that is drawn anew instead.
        sigma: Standard deviation of a perturbation.
        initial: Standard deviation of a number that is drawn anew.
        bound: Largest absolute value of a number.
        max_hidden: Most hidden neurons of a genome.
        max_edges: Most edges of a genome.
        max_delay: Longest delay of a new edge; 0 keeps a feed-forward population feed-forward.

    Raises:
        ConfigError: A number is out of range.
    """

    size: int = 150
    threshold: float = 3.0
    unmatched_weight: float = 1.0
    number_weight: float = 0.4
    small: int = 20
    target_species: int | None = 10
    threshold_step: float = 0.2
    stagnation: int = 15
    standstill: int = 20
    elite_from: int = 5
    survival: float = 0.2
    crossover: float = 0.75
    between_species: float = 0.001
    average: float = 0.4
    perturb: float = 0.8
    replace: float = 0.1
    sigma: float = 0.8
    initial: float = 1.0
    bound: float = 30.0
    max_hidden: int = 64
    max_edges: int = 1024
    max_delay: int = 0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{name} is {value}; it is a number of at least 0")
        for name in _SHARES:
            if getattr(self, name) > 1.0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it is a share, 0 to 1")
        if self.size < 2 or not self.survival or not self.bound or self.elite_from < 1:
            raise ConfigError("size is at least 2, elite_from at least 1, survival and bound are above 0")
        if self.target_species is not None and self.target_species < 1:
            raise ConfigError(f"target_species is {self.target_species}; it is at least 1, or None")
