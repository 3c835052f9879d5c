"""Evolution in one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from optix_core.errors import ConfigError
from optix_core.executor import Executor
from optix_neuroevo.graph.neuron_graph import NeuronGraph
from optix_neuroevo.population.evolution import GraphFactory, Log, Population
from optix_neuroevo.population.fitness import EpisodeReturn, Fitness
from optix_neuroevo.population.settings import PopulationSettings
from optix_neuroevo.population.variation import RATES, Rates


@dataclass(frozen=True, slots=True, kw_only=True)
class Evolved:
    """What came of an evolution.

    Attributes:
        graph: The champion's.
        fitness: Its fitness, in the generation in which it was found.
        solved: Whether that reached the target; False without one.
        evaluations: How often a fitness was asked for.
        population: Where to go on from.
    """

    graph: NeuronGraph
    fitness: float
    solved: bool
    evaluations: int
    population: Population


def evolve(
    task: str | Fitness | Any,
    graph_factory: GraphFactory,
    *,
    mutators: Rates = RATES,
    population: int | PopulationSettings = 150,
    generations: int = 100,
    target: float | None = None,
    episodes: int = 1,
    max_steps: int | None = None,
    seed: int = 0,
    log: Log | None = None,
    resume: Mapping[str, Any] | None = None,
    on_generation: Callable[[Population], None] | None = None,
    executor: Executor | None = None,
) -> Evolved:
    """Evolve weights and structure of neuron graphs; no gradients are needed.

    Args:
        task: A Gymnasium environment or the id of one, or a fitness ``(graph, rng) -> float``, larger being better.
        graph_factory: ``(rng) -> graph`` of the first generation; small ones, without hidden neurons, are best.
        mutators: Registered topology mutators (or mutators themselves) with the share of offspring that each changes.
        population: Genomes per generation, or all settings.
        generations: Most of them, in all: those before ``resume`` count.
        target: Stop after the generation in which a fitness reaches it.
        episodes: Per evaluation, if the task is an environment.
        max_steps: Per episode, if the task is an environment.
        seed: Of everything.
        log: See :class:`Population`.
        resume: ``state_dict()`` of the population of an earlier call with the same arguments; it goes on exactly.
        on_generation: Called after every generation, for example to keep ``population.state_dict()``.
        executor: Evaluates genomes in other processes, with the same result; the task travels there by value.

    Raises:
        ConfigError: The task cannot be evaluated, or an option has no meaning for it.
    """
    if generations < 1:
        raise ConfigError(f"generations is {generations}; it is at least 1")
    settings = PopulationSettings(size=population) if isinstance(population, int) else population
    evolving = Population(graph_factory, mutators=mutators, settings=settings, seed=seed, log=log)
    if resume is not None:
        evolving.load_state_dict(resume)
    fitness, close = _fitness(task, episodes, max_steps)
    try:
        while evolving.generation < generations and (target is None or evolving.fitness < target):
            evolving.step(fitness, executor)
            if on_generation is not None:
                on_generation(evolving)
    finally:
        close()
    return Evolved(
        graph=evolving.best_graph(), fitness=evolving.fitness, evaluations=evolving.evaluations,
        solved=target is not None and evolving.fitness >= target, population=evolving,
    )  # fmt: skip


def _fitness(task: Any, episodes: int, max_steps: int | None) -> tuple[Fitness, Callable[[], None]]:
    if isinstance(task, str):
        import gymnasium

        env: Any = gymnasium.make(task)
        return EpisodeReturn(env, episodes=episodes, max_steps=max_steps), env.close
    if hasattr(task, "reset") and hasattr(task, "step"):
        return EpisodeReturn(task, episodes=episodes, max_steps=max_steps), _nothing
    if not callable(task):
        raise ConfigError(f"the task is an environment, the id of one, or a fitness function, not {task!r}")
    if (episodes, max_steps) != (1, None):
        raise ConfigError("episodes and max_steps belong to environments; a fitness function runs its own")
    return cast("Fitness", task), _nothing


def _nothing() -> None:
    return None
