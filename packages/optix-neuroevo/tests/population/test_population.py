"""Does a population evolve as NEAT says, exactly again from a seed, and exactly on after a stop?"""

from __future__ import annotations

import json

import gymnasium
import numpy as np
import pytest
from double_pole import balanced

from optix_core.errors import ConfigError, IncompatibleCheckpoint
from optix_neuroevo import NeuronGraph
from optix_neuroevo.population import EpisodeReturn, Population, PopulationSettings, evolve

INPUTS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
EXCLUSIVE_OR = np.array([0.0, 1.0, 1.0, 0.0])
PUBLISHED = 4755  # evaluations, mean of 100 runs: Stanley & Miikkulainen 2002, section 4.2
PUBLISHED_TWO_POLES = 3600  # the same for two poles with velocities: section 4.3


def answers(graph: NeuronGraph) -> np.ndarray:
    return graph.step(INPUTS, np.zeros((4, graph.memory_size), np.float32))[0][:, 0]


def exclusive_or(graph: NeuronGraph, rng: np.random.Generator) -> float:
    """The paper's fitness; 16 once all four answers are on their side of one half, which is the paper's solution."""
    error = np.abs(answers(graph) - EXCLUSIVE_OR)
    return 16.0 if (error < 0.5).all() else float((4.0 - error.sum()) ** 2)


def no_hidden(rng: np.random.Generator) -> NeuronGraph:
    graph = NeuronGraph(seed=0)
    for name in ("a", "b"):
        graph.add_neuron("input", neuron_id=name)
    graph.add_neuron("output", "sigmoid", "out", bias=float(rng.standard_normal()))
    for name in ("a", "b"):
        graph.add_edge(name, "out", float(rng.standard_normal()))
    return graph


def test_exclusive_or_is_solved_from_no_hidden_neurons_within_twice_the_published_evaluations() -> None:
    used = []
    for seed in range(3):
        found = evolve(exclusive_or, no_hidden, target=16.0, generations=100, seed=seed)
        assert found.solved, f"seed {seed} did not solve it"
        assert len(found.graph.hidden_ids) >= 1  # without one it cannot be done
        assert ((answers(found.graph) > 0.5) == (EXCLUSIVE_OR > 0.5)).all()
        used.append(found.evaluations)
    assert np.mean(used) <= 2 * PUBLISHED


def test_without_structural_mutators_exclusive_or_stays_unsolved() -> None:
    found = evolve(exclusive_or, no_hidden, mutators={}, target=16.0, generations=15, seed=0)
    assert not found.solved
    assert not found.graph.hidden_ids
    assert found.fitness <= 9.0 + 0.5  # three of four: an error of 1, up to what saturation leaves


def small(**others: float) -> PopulationSettings:
    return PopulationSettings(size=24, **others)  # type: ignore[arg-type]


def busy(seed: int = 3) -> Population:
    rates = {"insert_on_edge": 0.3, "add_random_edge": 0.3, "add_neuron": 0.1}
    return Population(
        no_hidden, mutators=rates, settings=small(max_delay=1, stagnation=4, standstill=3), seed=seed
    )


def test_equal_seeds_give_equal_runs_and_others_do_not() -> None:
    one, two, other = busy(), busy(), busy(seed=4)
    for population in (one, two, other):
        for _ in range(4):
            population.step(exclusive_or)
    assert one.state_dict() == two.state_dict()
    assert list(one.records) == list(two.records)
    assert one.state_dict()["genomes"] != other.state_dict()["genomes"]


def noisy(graph: NeuronGraph, rng: np.random.Generator) -> float:
    return exclusive_or(graph, rng) + 0.1 * float(rng.standard_normal())


def test_a_resumed_population_goes_on_as_if_it_had_never_stopped() -> None:
    whole = busy()
    for _ in range(14):
        whole.step(noisy)
    first = busy()
    for _ in range(9):
        first.step(noisy)
    kept = json.loads(json.dumps(first.state_dict()))  # plain data
    second = busy(seed=99)
    second.load_state_dict(kept)
    for _ in range(5):
        second.step(noisy)
    assert any("stood still" in r.get("why", "") for r in second.records)  # what was counted before matters
    assert second.state_dict() == whole.state_dict()
    assert list(second.records) == list(whole.records)[-len(second.records) :]
    np.testing.assert_array_equal(answers(second.best_graph()), answers(whole.best_graph()))


def test_evolve_resumes_too() -> None:
    whole = evolve(noisy, no_hidden, population=24, generations=5, seed=1)
    kept: list[dict] = []
    evolve(noisy, no_hidden, population=24, generations=2, seed=1,
           on_generation=lambda p: kept.append(p.state_dict()))  # fmt: skip
    again = evolve(noisy, no_hidden, population=24, generations=5, seed=1, resume=kept[-1])
    assert again.population.state_dict() == whole.population.state_dict()
    assert again.evaluations == 5 * 24


def test_a_foreign_state_is_refused_and_changes_nothing() -> None:
    population = busy()
    population.step(exclusive_or)
    before = population.state_dict()
    other = Population(no_hidden, settings=small(sigma=0.1), seed=0).state_dict()
    with pytest.raises(IncompatibleCheckpoint, match="sigma"):
        population.load_state_dict(other)
    broken = dict(before)
    del broken["species"]
    with pytest.raises(IncompatibleCheckpoint, match="species"):
        population.load_state_dict(broken)
    assert population.state_dict() == before


def test_every_generation_keeps_the_invariants_of_species() -> None:
    population = busy()
    size = population.settings.size
    for generation in range(12):
        evaluated = population.genomes
        record = population.step(exclusive_or)
        members = [at for s in population.species for at in s.members]
        assert sorted(members) == list(range(size))  # everybody is in exactly one species
        assert sum(record["offspring"].values()) == size == len(population.genomes)
        assert record["evaluations"] == (generation + 1) * size
        numbers = [s.number for s in population.species]
        assert numbers == sorted(set(numbers))
        for s in population.species:
            assert s.representative in [evaluated[at] for at in s.members]
        for s in population.species:  # champions of large species live on unchanged
            if len(s.members) >= population.settings.elite_from and record["offspring"].get(str(s.number)):
                assert evaluated[s.members[0]] in population.genomes
        for genome in population.genomes:  # everything that came about can be built
            genome.express().plan()
    record = population.records[-1]
    assert json.loads(json.dumps(record)) == record  # a line of a decision log, as it is
    assert {s.number for s in population.species} != {1}
    assert any(r["changes"].get("insert_on_edge") for r in population.records if r["action"] == "generation")


def test_the_champion_never_gets_worse_and_records_say_when_it_got_better() -> None:
    told: list[tuple[str, dict]] = []
    population = Population(
        no_hidden, settings=small(), seed=5, log=lambda kind, **numbers: told.append((kind, numbers))
    )
    best = []
    for _ in range(8):
        population.step(exclusive_or)
        best.append(population.fitness)
    assert best == sorted(best)
    champions = [n["fitness"] for kind, n in told if n["action"] == "champion"]
    assert champions == sorted(set(best))
    assert {kind for kind, _ in told} == {"population"}
    assert [n for _, n in told] == list(population.records)
    json.dumps(told)


def test_the_structure_of_the_fitter_parent_is_inherited() -> None:
    made = iter(range(100))

    def half_and_half(rng: np.random.Generator) -> NeuronGraph:
        graph = no_hidden(rng)
        if next(made) % 2:
            graph.add_edge("a", "out", 0.5, delay=1)
        return graph

    settings = PopulationSettings(
        size=100, threshold=1e6, crossover=1.0, perturb=0.0, survival=1.0, target_species=None
    )
    population = Population(half_and_half, mutators={}, settings=settings, seed=0)
    population.step(lambda graph, rng: float(graph.n_edges()))
    fitter = sum(len(genome.edges) == 3 for genome in population.genomes)
    assert 65 <= fitter <= 85  # three of four pairs have such a parent; one of four has two of them


def test_all_genomes_of_a_generation_are_evaluated_on_equal_terms() -> None:
    seen: list[float] = []

    def listening(graph: NeuronGraph, rng: np.random.Generator) -> float:
        seen.append(float(rng.random()))
        return exclusive_or(graph, rng)

    population = Population(no_hidden, settings=small(), seed=0)
    population.step(listening)
    population.step(listening)
    assert len(set(seen[:24])) == 1
    assert len(set(seen[24:])) == 1
    assert seen[0] != seen[24]


def test_a_fitness_that_is_no_number_stops_the_generation_and_changes_nothing() -> None:
    population = busy()
    before = population.state_dict()
    with pytest.raises(ValueError, match="finite"):
        population.step(lambda graph, rng: float("nan"))
    assert population.state_dict() == before


def test_mutators_that_need_gradients_and_rates_that_are_none_are_refused() -> None:
    with pytest.raises(ConfigError, match="edge_gradients"):
        Population(no_hidden, mutators={"add_missing_edge": 0.1})
    with pytest.raises(ConfigError, match="share"):
        Population(no_hidden, mutators={"add_random_edge": 1.5})
    with pytest.raises(ConfigError, match="crossover"):
        PopulationSettings(crossover=2.0)
    with pytest.raises(ConfigError, match="size"):
        PopulationSettings(size=1)
    with pytest.raises(ConfigError, match="champion"):
        busy().best_graph()


def cart_pole_graph(rng: np.random.Generator) -> NeuronGraph:
    graph = NeuronGraph(seed=0)
    for i in range(4):
        graph.add_neuron("input", neuron_id=f"i{i}")
    for o in range(2):
        graph.add_neuron("output", "linear", f"o{o}")
        for i in range(4):
            graph.add_edge(f"i{i}", f"o{o}", float(rng.standard_normal()))
    return graph


def test_an_environment_is_solved_by_its_id() -> None:
    found = evolve("CartPole-v1", cart_pole_graph, population=20, generations=10, target=500.0, seed=0)
    assert found.solved
    env = gymnasium.make("CartPole-v1")
    try:
        again = EpisodeReturn(env, episodes=3)(found.graph, np.random.default_rng(123))
        with pytest.raises(ConfigError, match="2 inputs and 1 outputs"):
            EpisodeReturn(env)(no_hidden(np.random.default_rng(0)), np.random.default_rng(0))
    finally:
        env.close()
    assert again > 100.0  # on other episodes; a random policy earns about 20


class Told(gymnasium.Env):
    """Ten steps, each worth the action (its first element)."""

    def __init__(self, action_space: gymnasium.Space) -> None:
        self.observation_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))
        self.action_space, self.steps = action_space, 0

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.steps += 1
        return np.zeros(1, np.float32), float(np.reshape(action, -1)[0]), self.steps == 10, False, {}


def test_the_largest_output_is_the_action_and_continuous_ones_are_clipped() -> None:
    graph, rng = NeuronGraph(seed=0), np.random.default_rng(0)
    graph.add_neuron("input")
    for bias in (0.3, 0.9, -2.0):
        graph.add_neuron("output", "linear", bias=bias)
    discrete = Told(gymnasium.spaces.Discrete(3, start=5))
    assert EpisodeReturn(discrete, episodes=2)(graph, rng) == 60.0
    assert EpisodeReturn(discrete, max_steps=4)(graph, rng) == 24.0
    box = Told(gymnasium.spaces.Box(-0.5, 0.25, (3,)))
    assert EpisodeReturn(box)(graph, rng) == 2.5
    with pytest.raises(ConfigError, match="MultiBinary"):
        EpisodeReturn(Told(gymnasium.spaces.MultiBinary(3)))


def test_options_without_a_meaning_are_refused() -> None:
    with pytest.raises(ConfigError, match="episodes"):
        evolve(exclusive_or, no_hidden, episodes=3)
    with pytest.raises(ConfigError, match="fitness function"):
        evolve(17, no_hidden)


def six_to_one(rng: np.random.Generator) -> NeuronGraph:
    graph = NeuronGraph(seed=0)
    for i in range(6):
        graph.add_neuron("input", neuron_id=f"i{i}")
    graph.add_neuron("output", "tanh", "force", bias=float(rng.standard_normal()))
    for i in range(6):
        graph.add_edge(f"i{i}", "force", float(rng.standard_normal()))
    return graph


def two_poles(seed: int) -> bool:
    """Whether a graph keeps both poles up for 100,000 actions, within twice the published evaluations."""
    limit = 100_000
    settings = PopulationSettings(sigma=3.0, initial=3.0, replace=0.02)
    found = evolve(
        lambda graph, rng: float(balanced(graph, limit)), six_to_one,
        population=settings, generations=2 * PUBLISHED_TWO_POLES // settings.size, target=limit, seed=seed,
    )  # fmt: skip
    return found.solved


def test_two_poles_with_velocities_are_balanced() -> None:
    assert two_poles(seed=1)


@pytest.mark.slow
def test_two_poles_are_balanced_within_twice_the_published_evaluations_from_most_seeds() -> None:
    """Not from all: seed 4 never leaves a hollow in which 200 steps are the best, not even in 15,000 evaluations."""
    assert sum(two_poles(seed) for seed in range(5)) >= 4
