"""Populations of neuron graphs that evolve, for tasks that have a fitness and no gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optix_core._lazy import lazy_exports

if TYPE_CHECKING:
    from optix_neuroevo.population.evolution import Population as Population
    from optix_neuroevo.population.fitness import EpisodeReturn as EpisodeReturn
    from optix_neuroevo.population.genome import Genome as Genome
    from optix_neuroevo.population.running import Evolved as Evolved
    from optix_neuroevo.population.running import evolve as evolve
    from optix_neuroevo.population.settings import PopulationSettings as PopulationSettings

_EXPORTS = {
    "EpisodeReturn": ".fitness",
    "Evolved": ".running",
    "Genome": ".genome",
    "Population": ".evolution",
    "PopulationSettings": ".settings",
    "evolve": ".running",
}

__getattr__, __dir__, __all__ = lazy_exports(__name__, _EXPORTS)
