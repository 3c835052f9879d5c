"""A population of neuron graphs that evolves: weights and structure, in species (NEAT, Stanley & Miikkulainen 2002)."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from optix_core.errors import ConfigError, IncompatibleCheckpoint
from optix_core.executor import Executor
from optix_core.state import State, generator_state, restore_generator
from optix_neuroevo.graph.neuron_graph import NeuronGraph
from optix_neuroevo.population.fitness import Fitness
from optix_neuroevo.population.genome import Genome
from optix_neuroevo.population.lending import Lending
from optix_neuroevo.population.rating import Rating, spread_rating
from optix_neuroevo.population.settings import PopulationSettings
from optix_neuroevo.population.species import Species, judge, offspring, speciate
from optix_neuroevo.population.variation import RATES, Rates, StructuralVariation, crossed, perturbed

FORMAT = 1
RECORDS = 1000
GraphFactory = Callable[[np.random.Generator], NeuronGraph]
Log = Callable[..., None]


class Population:
    """Genomes of one generation, their species, and how the next one comes about.

    A generation is: evaluate every genome, sort them into species, give each species offspring by its shared fitness,
    keep champions of large species, make the others by crossover, topology mutators and noise. Between two calls of
    :meth:`step` everything that the future depends on is in :meth:`state_dict`.

    Args:
        graph_factory: Makes the graph of one genome of the first generation from a generator that draws its weights.
            Neurons that mean the same must have the same ids in all of them; see
            :mod:`optix_neuroevo.population.genome` for how genes are matched.
        mutators: Topology mutators with their rates.
        settings: All numbers; None: the defaults.
        seed: Of everything that is drawn, the fitness's generator included.
        log: Told of every event as ``log("population", **numbers)``; the ``log`` of a run fits.

    Attributes:
        genomes: Of the present generation, not yet evaluated.
        species: Of the generation before, oldest first.
        generation: How many were evaluated.
        evaluations: How often a fitness was asked for, champions that are evaluated again included.
        champion: The best genome so far; None before the first evaluation.
        fitness: Its fitness.
        threshold: The present compatibility threshold.
        records: The newest events.

    Raises:
        ConfigError: A rate or a mutator cannot be used; the factory gives graphs with other inputs or outputs.
    """

    def __init__(
        self,
        graph_factory: GraphFactory,
        *,
        mutators: Rates = RATES,
        settings: PopulationSettings | None = None,
        seed: int = 0,
        log: Log | None = None,
    ) -> None:
        self.settings = settings or PopulationSettings()
        self._structural = StructuralVariation(mutators, self.settings)
        self._seed, self._log_to = int(seed), log
        self._rng, self._lend = np.random.default_rng(seed), Lending()
        self.genomes = [Genome.of(graph_factory(self._rng)) for _ in range(self.settings.size)]
        if len({_ends(g) for g in self.genomes}) != 1:
            raise ConfigError("the graphs of the first generation differ in their inputs or outputs")
        self.species: list[Species] = []
        self.generation, self.evaluations = 0, 0
        self.champion: Genome | None = None
        self.fitness, self._improved = -math.inf, 0
        self.threshold, self._next_number = self.settings.threshold, 1
        self.records: deque[dict[str, Any]] = deque(maxlen=RECORDS)

    def best_graph(self) -> NeuronGraph:
        """The champion's graph, a new one.

        Raises:
            ConfigError: Nothing was evaluated yet.
        """
        if self.champion is None:
            raise ConfigError(
                "there is no champion before the first generation was evaluated; call step() first"
            )
        return self.champion.express(self._seed)

    def step(self, fitness: Fitness, executor: Executor | None = None) -> dict[str, Any]:
        """Evaluate the generation and make the next one; the record of it.

        Args:
            fitness: Of a graph.
            executor: Evaluates genomes in other processes, with the same results; ``fitness`` travels there by value.

        Raises:
            ValueError: A fitness is not finite. Nothing has changed then.
        """
        found = self._evaluated(fitness, executor)
        settings, now = self.settings, self.generation
        self.evaluations += len(found)
        top = int(np.argmax(found))
        if found[top] > self.fitness:
            self.champion, self.fitness, self._improved = self.genomes[top], found[top], now
            self._log("champion", fitness=found[top], **_size(self.champion))
        before = {s.number for s in self.species}
        self.species, self._next_number = speciate(
            self.genomes, self.species, settings, threshold=self.threshold, generation=now,
            next_number=self._next_number,
        )  # fmt: skip
        fertile, barren = judge(self.species, found, settings, generation=now, improved=self._improved)
        shares = offspring(fertile, found, settings.size)
        for s in self.species:
            if s.number in barren:
                self._log("barren", species=s.number, why=barren[s.number], members=len(s.members))
        children, changes = self._reproduce(fertile, shares, found)
        record = {
            "evaluations": self.evaluations, "best": found[top], "mean": float(np.mean(found)),
            "deviation": float(np.std(found)), "threshold": self.threshold, "changes": changes,
            "species": {
                str(s.number): {"members": len(s.members), "best": found[s.members[0]], "age": now - s.born}
                for s in self.species
            },
            "founded": sum(s.number not in before for s in self.species),
            "extinct": sorted(before - {s.number for s in self.species}),
            "offspring": dict(zip([str(s.number) for s in fertile], shares, strict=True)),
            **_size(self.genomes[top]),
        }  # fmt: skip
        self._log("generation", **record)
        self._prepare(children)
        return self.records[-1]

    # --- inside ---

    def _evaluated(self, fitness: Fitness, executor: Executor | None) -> list[float]:
        rating = Rating(fitness, self._seed, self.generation)
        if executor is None:
            return [rating.of(genome, self._lend) for genome in self.genomes]
        return spread_rating(rating, self.genomes, executor)

    def _reproduce(
        self, fertile: list[Species], shares: list[int], fitness: list[float]
    ) -> tuple[list[Genome], dict[str, int]]:
        settings, rng = self.settings, self._rng
        children: list[Genome] = []
        changes: dict[str, int] = {"elite": 0, "crossover": 0}
        for s, count in zip(fertile, shares, strict=True):
            parents = s.members[: max(1, math.ceil(settings.survival * len(s.members)))]
            elite = self.genomes[s.members[0]] if count and len(s.members) >= settings.elite_from else None
            if elite is not None:
                children.append(elite)
                changes["elite"] += 1
            for _ in range(count - (elite is not None)):
                at = parents[int(rng.integers(len(parents)))]
                child = self.genomes[at]
                if rng.random() < settings.crossover:
                    child = self._crossed(at, parents, fertile, fitness)
                    changes["crossover"] += 1
                if rng.random() < settings.perturb:
                    child = perturbed(child, settings, rng)
                child, made, vain = self._structural(child, rng)
                for name in made + [f"{name} in vain" for name in vain]:
                    changes[name] = changes.get(name, 0) + 1
                children.append(child)
        return children, changes

    def _crossed(self, at: int, parents: list[int], fertile: list[Species], fitness: list[float]) -> Genome:
        """Fitter parent first; of equally fit ones that with fewer edges, then the first."""
        rng = self._rng
        if rng.random() < self.settings.between_species:
            other = fertile[int(rng.integers(len(fertile)))].members[0]
        else:
            other = parents[int(rng.integers(len(parents)))]
        one, two = sorted((at, other), key=lambda i: (-fitness[i], len(self.genomes[i].edges)))
        average = bool(rng.random() < self.settings.average)
        return crossed(self.genomes[one], self.genomes[two], rng, average=average)

    def _prepare(self, children: list[Genome]) -> None:
        """The next generation takes over; species are represented by one of their members from now on."""
        for s in self.species:
            s.representative = self.genomes[s.members[int(self._rng.integers(len(s.members)))]]
        target, step = self.settings.target_species, self.settings.threshold_step
        if target is not None and len(self.species) != target:
            self.threshold = max(step, self.threshold + (step if len(self.species) > target else -step))
        self.genomes = children
        self.generation += 1

    def _log(self, action: str, **numbers: Any) -> None:
        record = {"action": action, "generation": self.generation, **numbers}
        self.records.append(record)
        if self._log_to is not None:
            self._log_to("population", **record)

    # --- keeping ---

    def state_dict(self) -> State:
        """Everything, for checkpoints; plain data that JSON can hold."""
        return {
            "format": FORMAT,
            "settings": asdict(self.settings),
            "rates": dict(self._structural.rates),
            "seed": self._seed,
            "rng": generator_state(self._rng),
            "genomes": [g.to_state() for g in self.genomes],
            "species": [s.state_dict() for s in self.species],
            "generation": self.generation,
            "evaluations": self.evaluations,
            "champion": None if self.champion is None else self.champion.to_state(),
            "fitness": self.fitness,
            "improved": self._improved,
            "threshold": self.threshold,
            "next_number": self._next_number,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from there; all or nothing.

        Raises:
            IncompatibleCheckpoint: It is the state of a population with other settings or rates, or of none.
        """
        try:
            if int(state["format"]) != FORMAT:
                raise IncompatibleCheckpoint(
                    f"population format {state['format']}; this version reads {FORMAT}"
                )
            mine = {"settings": asdict(self.settings), "rates": dict(self._structural.rates)}
            other = {key: dict(state[key]) for key in mine}
            if other != mine:
                raise IncompatibleCheckpoint(
                    f"the population was kept with {other}, and this one has {mine}; make it with the same numbers"
                )
            genomes = [Genome.from_state(g) for g in state["genomes"]]
            species = [Species.from_state(s) for s in state["species"]]
            champion = None if state["champion"] is None else Genome.from_state(state["champion"])
            numbers = {
                k: int(state[k]) for k in ("seed", "generation", "evaluations", "improved", "next_number")
            }
            fitness, threshold = float(state["fitness"]), float(state["threshold"])
            rng = np.random.default_rng(0)  # its state comes next
            restore_generator(rng, state["rng"])
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, IncompatibleCheckpoint):
                raise
            raise IncompatibleCheckpoint(f"this is not the state of a population: {error!r}") from error
        self.genomes, self.species, self.champion, self._rng = genomes, species, champion, rng
        self._seed, self.generation = numbers["seed"], numbers["generation"]
        self.evaluations, self._improved = numbers["evaluations"], numbers["improved"]
        self._next_number, self.fitness, self.threshold = numbers["next_number"], fitness, threshold


def _ends(genome: Genome) -> tuple[tuple[str, ...], tuple[str, ...]]:
    def of(role: str) -> tuple[str, ...]:
        return tuple(name for name, n in genome.neurons.items() if n.role == role)

    return of("input"), of("output")


def _size(genome: Genome) -> dict[str, int]:
    return {"n_hidden": genome.n_hidden, "n_edges": len(genome.edges)}
