"""Are equal genes matched, are distances distances, and is what two parents have inherited as it should be?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from optix_neuroevo import NeuronGraph, layered_graph
from optix_neuroevo.mutators.editing import GraphEditor
from optix_neuroevo.population.genome import Genome, distance
from optix_neuroevo.population.lending import Lending
from optix_neuroevo.population.settings import PopulationSettings
from optix_neuroevo.population.species import Species, judge, offspring, speciate
from optix_neuroevo.population.variation import StructuralVariation, crossed, perturbed

SETTINGS = PopulationSettings(size=10)


def line(weight: float = 1.0) -> Genome:
    graph = NeuronGraph(seed=0)
    graph.add_neuron("input", neuron_id="i")
    graph.add_neuron("output", "linear", "o")
    graph.add_edge("i", "o", weight)
    return Genome.of(graph)


def inserted(genome: Genome, edge: str, seed: int = 0) -> Genome:
    graph = genome.express(seed)
    GraphEditor(graph).insert_on_edge(edge)
    return Genome.of(graph, genome.neurons)


def gap(a: Genome, b: Genome, small: int = 20) -> float:
    return distance(a, b, unmatched_weight=1.0, number_weight=0.4, small=small)


@pytest.mark.parametrize("dale", [False, True])
@pytest.mark.parametrize("mode", ["clamp", "softplus"])
def test_a_graph_of_genes_computes_what_the_graph_did(dale: bool, mode: str) -> None:
    rng = np.random.default_rng(0)
    graph = layered_graph(3, 5, 2, rng, recurrent_delay=2, neuron="trainable_gru", dale=dale, dale_mode=mode)
    graph.set_bias("o0", 0.7)
    genome = Genome.of(graph)
    twin = Genome.from_state(genome.to_state()).express()
    assert Genome.of(twin) == genome
    for _ in range(5):
        x = rng.standard_normal(3)
        np.testing.assert_allclose(twin.forward(x), graph.forward(x), atol=1e-6)


def test_the_same_change_in_two_genomes_gives_the_same_ids_whatever_came_between() -> None:
    one = inserted(line(), "i>o@0")
    graph = line(5.0).express(7)
    graph.remove_neuron(graph.add_neuron())  # uses up numbers
    GraphEditor(graph).insert_on_edge("i>o@0")
    two = Genome.of(graph, line().neurons)
    assert list(one.neurons) == list(two.neurons)
    assert list(one.edges) == list(two.edges)
    assert gap(one, two) == pytest.approx(0.4 * 4 / 5)  # only the onward weight: 1 and 5, of 5 numbers


def test_different_changes_give_different_ids() -> None:
    base = inserted(line(), "i>o@0")
    (relay,) = [n for n, g in base.neurons.items() if g.role == "hidden"]
    before, behind = inserted(base, f"i>{relay}@0"), inserted(base, f"{relay}>o@0")
    new = [set(g.neurons) - set(base.neurons) for g in (before, behind)]
    assert len(new[0]) == len(new[1]) == 1
    assert new[0] != new[1]
    graph = base.express()
    graph.add_edge("i", "o", 1.0, edge_id="again")
    again = Genome.of(graph, base.neurons)
    assert "i>o@0" in again.edges  # what it is counts, not how it was called
    second = inserted(again, "i>o@0")  # the same place as the first relay: a second gene
    assert f"{relay}#2" in second.neurons


def test_what_a_new_neuron_reads_feeds_and_is_all_name_it() -> None:
    graph = NeuronGraph(seed=0)
    for name in ("i", "j"):
        graph.add_neuron("input", neuron_id=name)
    for name in ("o", "p"):
        graph.add_neuron("output", "linear", name)
    known = Genome.of(graph).neurons

    def name_of(read: str, fed: str, delay: int = 0, activation: str = "tanh") -> str:
        twin = graph.copy()
        new = twin.add_neuron("hidden", activation)
        twin.add_edge(read, new, 1.0, delay)
        twin.add_edge(new, fed, 1.0)
        return list(Genome.of(twin, known).neurons)[-1]

    places = [("i", "o"), ("j", "o"), ("i", "p"), ("i", "o", 1), ("i", "o", 0, "relu")]
    assert len({name_of(*place) for place in places}) == len(places)
    assert name_of("i", "o") == name_of("i", "o")


def test_distance_is_symmetric_zero_for_equals_and_as_the_equation_says() -> None:
    a, b = line(1.0), line(3.0)
    assert gap(a, a) == 0.0
    assert (
        gap(a, b) == gap(b, a) == pytest.approx(0.4 * 2.0 / 2)
    )  # one weight of two numbers: the bias is equal
    c = inserted(a, "i>o@0")  # i>o gone, two edges new
    assert gap(a, c) == gap(c, a) == pytest.approx(3.0)
    assert gap(a, c, small=1) == pytest.approx(3.0 / 2)  # share of the larger one's edges


def test_numbers_of_both_parents_are_inherited_by_id_and_the_rest_from_the_fitter() -> None:
    rng = np.random.default_rng(0)
    a = inserted(line(1.0), "i>o@0")
    graph = a.express()
    graph.add_edge("i", "o", 9.0, edge_id="x")
    fitter = Genome.of(graph, a.neurons)
    other = perturbed(a, SETTINGS, rng)
    child = crossed(fitter, other, rng, average=True)
    assert list(child.edges) == list(fitter.edges)
    assert list(child.neurons) == list(fitter.neurons)
    assert child.edges["i>o@0"].weight == 9.0
    for name in a.edges:
        mean = 0.5 * (fitter.edges[name].weight + other.edges[name].weight)
        assert child.edges[name].weight == pytest.approx(mean)
    picked = [crossed(fitter, other, rng, average=False) for _ in range(40)]
    for name in a.edges:
        seen = {p.edges[name].weight for p in picked}
        assert seen == {fitter.edges[name].weight, other.edges[name].weight}
    assert crossed(a, fitter, rng, average=True).edges.keys() == a.edges.keys()


def test_noise_keeps_signs_bounds_and_inputs() -> None:
    rng = np.random.default_rng(1)
    genome = Genome.of(layered_graph(3, 10, 2, rng, dale=True))
    settings = PopulationSettings(sigma=5.0, bound=2.0)
    moved = perturbed(genome, settings, rng)
    cells = {name: n.cell for name, n in moved.neurons.items()}
    assert {"excitatory", "inhibitory"} <= set(cells.values())
    for name, edge in moved.edges.items():
        assert abs(edge.weight) <= 2.0
        assert edge.weight * {"excitatory": 1, "inhibitory": -1, "any": 0}[cells[edge.src]] >= 0.0
        assert (edge.src, edge.dst) == (genome.edges[name].src, genome.edges[name].dst)
    assert sum(moved.edges[k].weight != genome.edges[k].weight for k in genome.edges) > 40
    assert all(moved.neurons[f"i{i}"] == genome.neurons[f"i{i}"] for i in range(3))
    assert perturbed(genome, replace(settings, sigma=0.0, replace=0.0, bound=30.0), rng) == genome


def test_mutators_change_structure_within_their_limits_and_new_genes_are_awake() -> None:
    rng = np.random.default_rng(2)
    vary = StructuralVariation([("add_random_edge", 1.0), ("insert_on_edge", 1.0)], SETTINGS)
    child, made, vain = vary(line(), rng)
    assert made == ["insert_on_edge"]  # there was no edge to add
    assert vain == ["add_random_edge"]
    assert child.n_hidden == 1
    new = [n for name, n in child.neurons.items() if n.role == "hidden"]
    assert all(v != 0.0 for n in new for v in n.numbers)
    full = StructuralVariation({"insert_on_edge": 1.0}, PopulationSettings(max_hidden=1))
    assert full(child, rng)[1:] == ([], ["insert_on_edge"])
    back = StructuralVariation({"add_random_edge": 1.0}, PopulationSettings(max_delay=2))
    grown = child
    for _ in range(8):
        grown = back(grown, rng)[0]
    delays = {e.delay for e in grown.edges.values()}
    assert delays <= {0, 1, 2}
    assert len(delays) > 1
    assert all(e.weight != 0.0 for e in grown.edges.values())


@pytest.mark.parametrize("mode", ["clamp", "softplus"])
def test_a_lent_graph_is_that_of_the_genome_and_has_no_past(mode: str) -> None:
    rng = np.random.default_rng(3)
    start = layered_graph(2, 4, 2, rng, recurrent_delay=1, neuron="trainable_gru", dale=True, dale_mode=mode)
    lend, genome = Lending(), Genome.of(start)
    for turn in range(6):
        graph, own = lend(genome, 0), genome.express()
        for _ in range(3):
            x = rng.standard_normal(2)
            np.testing.assert_array_equal(graph.forward(x), own.forward(x))
        if turn == 3:
            graph.remove_neuron(graph.hidden_ids[0])  # a borrower that does what it should not
        genome = perturbed(genome, SETTINGS, rng)
    lent = [lend(perturbed(genome, SETTINGS, rng), 0) for _ in range(3)]
    assert len({id(g) for g in lent}) == (1 if mode == "clamp" else 3)


def test_genomes_join_the_first_species_that_is_near_enough() -> None:
    a, c = line(1.0), inserted(line(1.0), "i>o@0")
    old = [Species(4, a, 0), Species(5, line(90.0), 0)]
    found, following = speciate(
        [a, line(1.1), c, c], old, SETTINGS, threshold=2.9, generation=3, next_number=6
    )
    assert [(s.number, s.members) for s in found] == [(4, [0, 1]), (6, [2, 3])]  # 5 is extinct
    assert following == 7
    assert found[1].born == 3
    together, _ = speciate([a, c], [], SETTINGS, threshold=3.1, generation=0, next_number=1)
    assert [s.members for s in together] == [[0, 1]]


def test_offspring_follow_shared_fitness() -> None:
    g = line()
    two = [Species(1, g, 0, members=[0, 1, 2]), Species(2, g, 0, members=[3])]
    # counted from the worst: means (1 + 2 + 0) / 3 = 1 and 3
    assert offspring(two, [-4.0, -3.0, -5.0, -2.0], 8) == [2, 6]
    assert offspring(two, [1.0, 1.0, 1.0, 1.0], 9) == [5, 4]
    assert sum(offspring(two, [0.3, 0.1, 0.2, 0.25], 151)) == 151


def test_what_stands_still_has_no_offspring_but_the_champions_species_has() -> None:
    g = line()

    def three() -> list[Species]:
        return [Species(n, g, 0, best=10.0, improved=0, members=[n]) for n in range(3)]

    scores = [1.0, 5.0, 3.0]
    fertile, why = judge(three(), scores, SETTINGS, generation=SETTINGS.stagnation - 1, improved=0)
    assert len(fertile) == 3
    assert not why
    fertile, why = judge(three(), scores, SETTINGS, generation=SETTINGS.stagnation, improved=0)
    assert [s.number for s in fertile] == [1]
    assert set(why) == {0, 2}
    risen = [11.0, 5.0, 3.0]
    found = three()
    fertile, _ = judge(found, risen, SETTINGS, generation=SETTINGS.stagnation, improved=15)
    assert [s.number for s in fertile] == [0]
    assert found[0].improved == SETTINGS.stagnation
    lively = [Species(n, g, 0, best=-1.0, members=[n]) for n in range(3)]
    fertile, why = judge(lively, scores, SETTINGS, generation=40, improved=40 - SETTINGS.standstill)
    assert [s.number for s in fertile] == [1, 2]
    assert "stood still" in why[0]
