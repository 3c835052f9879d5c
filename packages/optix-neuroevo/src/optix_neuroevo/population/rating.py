"""Fitnesses of a generation's genomes, here or in other processes: the same numbers either way."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optix_core.executor import Executor
from optix_core.state import State
from optix_neuroevo.population.fitness import Fitness
from optix_neuroevo.population.genome import Genome
from optix_neuroevo.population.lending import Lending

SHARES = 4
"""Calls per worker: some genomes take longer than others."""


@dataclass(frozen=True, slots=True)
class Rating:
    """How genomes of one generation are evaluated.

    Attributes:
        fitness: Of a graph.
        seed: Of the population.
        generation: Which one.
    """

    fitness: Fitness
    seed: int
    generation: int

    def of(self, genome: Genome, lend: Lending) -> float:
        """The fitness of one genome.

        Raises:
            ValueError: It is not finite.
        """
        rng = np.random.default_rng((self.seed, self.generation))  # of the generation, not of the genome
        value = float(self.fitness(lend(genome, self.seed), rng))
        if not math.isfinite(value):
            raise ValueError(f"a fitness must be finite, got {value} in generation {self.generation}")
        return value


def spread_rating(rating: Rating, genomes: Sequence[Genome], executor: Executor) -> list[float]:
    """The fitness of every genome, in their order, several genomes per call."""
    size = max(1, -(-len(genomes) // (SHARES * executor.workers)))
    states = [genome.to_state() for genome in genomes]
    shares = [states[at : at + size] for at in range(0, len(states), size)]
    return list(itertools.chain.from_iterable(executor.map(functools.partial(_rated, rating), shares)))


def _rated(rating: Rating, states: Sequence[State]) -> list[float]:
    lend = Lending()
    return [rating.of(Genome.from_state(state), lend) for state in states]
