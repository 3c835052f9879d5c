"""How offspring differ from their parents: numbers are perturbed, structure is mutated, two parents are crossed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from optix_core.errors import ConfigError, OptixError
from optix_core.topology import Budget, Proposal, Signals, TopologyMutator
from optix_neuroevo.control.regions import mutator
from optix_neuroevo.mutators.editing import GraphEditor
from optix_neuroevo.population.genome import EdgeGene, Genome, NeuronGene, same_edge, same_neuron
from optix_neuroevo.population.settings import PopulationSettings

Rates = Mapping[str, float] | Sequence[tuple[str | TopologyMutator, float]]
"""Mutators, or names of registered ones, and the share of offspring that each is tried on."""
RATES: Mapping[str, float] = {"insert_on_edge": 0.03, "add_random_edge": 0.05}
"""Stanley & Miikkulainen 2002, section 4.1, for a population of 150."""
_SIGNS = {"excitatory": (0.0, np.inf), "inhibitory": (-np.inf, 0.0), "any": (-np.inf, np.inf)}
_CHOICES = 1 << 16


class StructuralVariation:
    """Lets topology mutators change genomes; each is asked where, and one of its answers is drawn.

    Args:
        rates: See :data:`Rates`.
        settings: Their limits of size.

    Attributes:
        rates: Name of each mutator to its rate.

    Raises:
        ConfigError: A rate is no share, two mutators have one name, or a mutator needs signals, which a fitness alone
            does not give.
        PluginError: No mutator is registered under a name.
    """

    def __init__(self, rates: Rates, settings: PopulationSettings) -> None:
        self._settings = settings
        self._mutators: dict[str, TopologyMutator] = {}
        self.rates: dict[str, float] = {}
        for what, rate in rates.items() if isinstance(rates, Mapping) else rates:
            name = what if isinstance(what, str) else type(what).__name__
            if not 0.0 <= rate <= 1.0 or name in self.rates:
                raise ConfigError(
                    f"mutator {name}: the rate {rate} is no share, or there are two of that name"
                )
            if isinstance(what, str):
                _require_no_signals(what)
            self._mutators[name], self.rates[name] = mutator(what), float(rate)

    def __call__(self, genome: Genome, rng: np.random.Generator) -> tuple[Genome, list[str], list[str]]:
        """The changed genome, what changed it, and what was tried in vain; numbers of 0 in new genes are drawn."""
        made: list[str] = []
        vain: list[str] = []
        for name, rate in self.rates.items():
            if rng.random() >= rate:
                continue
            changed = self._apply(genome, self._mutators[name], rng)
            (vain if changed is None else made).append(name)
            genome = genome if changed is None else _awaken(genome, changed, self._settings, rng)
        return genome, made, vain

    def _apply(self, genome: Genome, what: TopologyMutator, rng: np.random.Generator) -> Genome | None:
        limits = self._settings
        budget = Budget(
            neurons=max(0, limits.max_hidden - genome.n_hidden),
            edges=max(0, limits.max_edges - len(genome.edges)),
            changes=_CHOICES, min_hidden=0, max_delay=limits.max_delay,
        )  # fmt: skip
        graph = genome.express(int(rng.integers(2**31)))
        editor = GraphEditor(graph)
        proposals: Sequence[Proposal] = what.propose(editor, Signals(), budget, rng)
        if not proposals:
            return None
        chosen = proposals[int(rng.integers(len(proposals)))]
        try:
            with graph.edit(type(what).__name__):
                what.apply(editor, chosen, rng)
        except (OptixError, ValueError):  # refused: the parent's structure stays; the caller counts it
            return None
        return Genome.of(graph, genome.neurons)


def _require_no_signals(name: str) -> None:
    from optix_core.plugins.registry import default_registry

    needs = default_registry().topology_mutator(name).spec.needs
    if needs:
        raise ConfigError(
            f"mutator {name!r} goes by {', '.join(sorted(needs))}, which nobody measures in a population that only "
            "has a fitness; use one without needs, such as add_random_edge, or the TopologyController of an agent"
        )


def perturbed(genome: Genome, settings: PopulationSettings, rng: np.random.Generator) -> Genome:
    """The genome with Gaussian noise on all numbers, some drawn anew; signs that Dale's law asks for are kept."""

    def moved(value: float) -> float:
        fresh = rng.random() < settings.replace
        draw = float(rng.standard_normal())
        return settings.initial * draw if fresh else value + settings.sigma * draw

    return _mapped(genome, moved, settings.bound)


def _awaken(before: Genome, after: Genome, settings: PopulationSettings, rng: np.random.Generator) -> Genome:
    """Zeros of genes that are new draw a number: nothing could be selected of them otherwise."""
    new = Genome(
        neurons={k: v for k, v in after.neurons.items() if k not in before.neurons},
        edges={k: v for k, v in after.edges.items() if k not in before.edges},
    )

    def drawn(value: float) -> float:
        return float(rng.standard_normal()) * settings.initial if value == 0.0 else value

    woken = _mapped(new, drawn, settings.bound, cells=after.neurons)
    return replace(
        after, neurons={**after.neurons, **woken.neurons}, edges={**after.edges, **woken.edges}
    )  # fmt: skip


def _mapped(
    genome: Genome,
    change: Callable[[float], float],
    bound: float,
    cells: Mapping[str, NeuronGene] | None = None,
) -> Genome:
    known = genome.neurons if cells is None else cells
    neurons = {
        name: n if n.role == "input" else replace(n, numbers=tuple(_in(change(v), bound) for v in n.numbers))
        for name, n in genome.neurons.items()
    }
    edges: dict[str, EdgeGene] = {}
    for name, e in genome.edges.items():
        low, high = _SIGNS[known[e.src].cell]
        edges[name] = replace(e, weight=min(max(_in(change(e.weight), bound), low), high))
    return replace(genome, neurons=neurons, edges=edges)


def _in(value: float, bound: float) -> float:
    return min(max(value, -bound), bound)


def crossed(fitter: Genome, other: Genome, rng: np.random.Generator, *, average: bool) -> Genome:
    """The fitter parent's structure; numbers of genes that both have are those of either, or their mean.

    Unmatched genes come from the fitter parent (Stanley & Miikkulainen 2002, section 3.2), so the child never has a
    cycle that its parent did not have.
    """

    def of(a: float, b: float) -> float:
        return 0.5 * (a + b) if average else (a if rng.random() < 0.5 else b)

    neurons = dict(fitter.neurons)
    for name, n in fitter.neurons.items():
        if same_neuron(fitter, other, name):
            numbers = tuple(of(a, b) for a, b in zip(n.numbers, other.neurons[name].numbers, strict=True))
            neurons[name] = replace(n, numbers=numbers)
    edges = dict(fitter.edges)
    for name, e in fitter.edges.items():
        if same_edge(fitter, other, name):
            edges[name] = replace(e, weight=of(e.weight, other.edges[name].weight))
    return replace(fitter, neurons=neurons, edges=edges)
