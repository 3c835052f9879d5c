"""Members, weights, variants: scale free, bounded, seeded, and the primary is safe."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optix_core.checkpoints.registry import CheckpointRegistry
from optix_core.errors import ConfigError
from optix_core.evolution import PolicyManager
from optix_core.evolution.spawning import adaptive_noise_scale, weight_noise_after
from optix_core.evolution.weighting import softmax_weights
from optix_core.testing.fakes import ScriptedAgent
from optix_core.testing.linear_agent import LinearAgent
from optix_core.testing.tiny_envs import TinyDiscrete
from optix_core.types import EvalMetrics, HyperparamSet


class Torn(ScriptedAgent):
    down = 0

    def teardown(self):
        self.down += 1


def filled(count, **options):
    manager = PolicyManager(**options)
    agents = [Torn() for _ in range(count)]
    for agent in agents:
        manager.add_agent(agent)
    return manager, agents


SCORES = st.lists(st.integers(-1000, 1000), min_size=2, max_size=6)


@given(SCORES, st.sampled_from([1e-3, 0.5, 1.0, 1e3]), st.sampled_from([0.0, -500.0, 1e4]))
@settings(max_examples=300, deadline=None)
def test_weights_depend_on_neither_unit_nor_zero_and_keep_the_order(values, unit, zero):
    scores = dict(enumerate(map(float, values)))
    moved = {i: unit * s + zero for i, s in scores.items()}
    weights = softmax_weights(scores, len(values))
    np.testing.assert_allclose(softmax_weights(moved, len(values)), weights, rtol=1e-6)
    assert math.fsum(weights) == pytest.approx(1.0)
    for i, j in zip(range(len(values)), range(1, len(values)), strict=False):
        assert (weights[i] > weights[j]) == (values[i] > values[j])


def test_equal_scores_weigh_the_same_and_the_unscored_are_neutral():
    assert softmax_weights({0: 5.0, 1: 5.0}, 2) == [0.5, 0.5]
    assert softmax_weights({}, 3) == [1 / 3] * 3
    bad, good, unscored = softmax_weights({0: -1.0, 1: 1.0}, 3)
    assert bad < unscored < good
    assert softmax_weights({0: 1.0, 1: math.nan, 2: 3.0}, 3)[1] == pytest.approx(unscored)


def test_noise_alone_hardly_tells_members_apart():
    manager, _ = filled(2, score_window=50)
    rng = np.random.default_rng(1)
    for _ in range(50):
        manager.record_agent_score(0, rng.normal(10.0, 5.0))
        manager.record_agent_score(1, rng.normal(10.0, 5.0))
    manager.auto_update_weights()
    assert max(manager.weights) < 0.6
    for _ in range(50):
        manager.record_agent_score(0, rng.normal(100.0, 5.0))
    manager.auto_update_weights()
    assert manager.weights[0] > 0.8


def test_only_the_window_counts_and_failed_scores_do_not():
    manager, _ = filled(1, score_window=3)
    for score in (1.0, math.nan, 2.0, 3.0, math.inf, 4.0):
        manager.record_agent_score(0, score)
    assert manager.status()["agents"][0]["recent_scores"] == [2.0, 3.0, 4.0]
    assert manager.status()["agents"][0]["mean_score"] == 3.0


def test_prune_removes_the_weakest_and_never_the_primary():
    manager, agents = filled(4)
    manager.update_weights({0: -100.0, 1: 1.0, 2: 3.0, 3: 2.0})
    assert manager.prune(2) == (1, 3)
    assert manager.agents == (agents[0], agents[2])
    assert [a.down for a in agents] == [0, 1, 0, 1]
    assert manager.prune(2) == ()
    assert manager.prune(1) == (1,)
    assert manager.prune(1) == ()
    assert manager.agents == (agents[0],)
    assert manager.status()["prune_count"] == 3


def test_scores_stay_with_their_members_when_others_go():
    manager, _ = filled(3)
    for i in range(3):
        manager.record_agent_score(i, 10.0 * i)
    manager.update_weights({0: 5.0, 1: 0.0, 2: 9.0})
    manager.prune(1)
    assert [a["mean_score"] for a in manager.status()["agents"]] == [0.0, 20.0]


def test_a_full_ensemble_makes_room_and_keeps_its_primary():
    manager, agents = filled(3, max_ensemble_size=3)
    manager.update_weights({0: 0.0, 1: 2.0, 2: 1.0})
    newcomer = Torn()
    manager.add_agent(newcomer)
    assert manager.agents == (agents[0], agents[1], newcomer)
    assert agents[2].down == 1
    alone, _ = filled(1, max_ensemble_size=1)
    with pytest.raises(ConfigError, match="max_ensemble_size"):
        alone.add_agent(Torn())


def test_boost_and_zero_weights():
    manager, agents = filled(2)
    manager.boost(agents[1], 3.0)
    assert manager.weights == [0.25, 0.75]
    manager.boost(agents[0], 0.0)
    manager.boost(agents[1], 0.0)
    assert manager.weights == [0.5, 0.5]
    with pytest.raises(ConfigError, match="no member"):
        manager.boost(Torn())


@pytest.mark.parametrize(
    "options",
    [{"score_window": 0}, {"max_spawns": -1}, {"max_ensemble_size": 0}],
    ids=lambda o: next(iter(o)),
)
def test_bad_options_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        PolicyManager(**options)


def test_a_member_is_added_once_and_with_a_sound_weight():
    manager, agents = filled(1)
    with pytest.raises(ConfigError, match="already"):
        manager.add_agent(agents[0])
    with pytest.raises(ConfigError, match="weight"):
        manager.add_agent(Torn(), -1.0)
    with pytest.raises(IndexError):
        manager.update_weights({4: 1.0})


# ------------------------------------------------------------------ variants


class Tunable(ScriptedAgent):
    default_param_bounds = {"rate": (1e-5, 1e-1), "gamma": (0.9, 0.9999), "epochs": (1, 20), "flag": (0, 1)}  # noqa: RUF012
    default_log_params = ("rate", "1-gamma")

    def __init__(self, **params):
        super().__init__(
            hyperparams={"rate": 1e-3, "gamma": 0.99, "epochs": 10, "flag": True, "word": "adam", "free": 3.0}
            | params
        )


@given(
    st.floats(1e-5, 1e-1),
    st.floats(0.9, 0.9999),
    st.integers(1, 20),
    st.sampled_from([0.001, 0.01, 0.1, 1.0, 10.0]),
    st.integers(0, 10**6),
)
@settings(max_examples=500, deadline=None)
def test_variants_stay_inside_the_bounds_and_keep_their_kinds(rate, gamma, epochs, noise, seed):
    agent = Tunable(rate=rate, gamma=gamma, epochs=epochs)
    variant = PolicyManager(seed=seed).vary(agent, noise, weight_noise=0.0, origin=None)
    after = agent.get_hyperparams().params
    assert 1e-5 <= after["rate"] <= 1e-1
    assert 0.9 <= after["gamma"] <= 0.9999
    assert 1 <= after["epochs"] <= 20
    assert type(after["epochs"]) is int
    assert after["flag"] is True
    assert after["word"] == "adam"
    assert after["free"] == 3.0
    assert set(variant.changed) <= {"rate", "gamma", "epochs"}
    assert variant.not_taken == {}


@pytest.mark.slow
@given(
    st.floats(1e-5, 1e-1),
    st.floats(0.9, 0.9999),
    st.integers(1, 20),
    st.floats(0.0, 5.0),
    st.integers(0, 10**6),
)
@settings(max_examples=10_000, deadline=None)
def test_ten_thousand_variants_stay_inside_the_bounds(rate, gamma, epochs, noise, seed):
    agent = Tunable(rate=rate, gamma=gamma, epochs=epochs)
    PolicyManager(seed=seed).vary(agent, noise, weight_noise=0.0, origin=None)
    after = agent.get_hyperparams().params
    assert 1e-5 <= after["rate"] <= 1e-1
    assert 0.9 <= after["gamma"] <= 0.9999
    assert after["epochs"] in range(1, 21)


def test_steps_are_of_equal_size_on_the_tuning_scale():
    """A step of 0.05 in the cube moves a learning rate by 0.05 of four decades, wherever it starts."""
    for start in (1e-4, 1e-2):
        moves = []
        for seed in range(200):
            agent = Tunable(rate=start)
            PolicyManager(seed=seed).vary(agent, 0.05, weight_noise=0.0, origin=None)
            moves.append(math.log10(agent.get_hyperparams().params["rate"] / start) / 4)
        assert np.std(moves) == pytest.approx(0.05, rel=0.15)
        assert abs(np.mean(moves)) < 0.012


def test_variants_are_seeded_and_differ_from_each_other():
    def rates(seed):
        manager = PolicyManager(seed=seed)
        found = []
        for _ in range(3):
            agent = Tunable()
            manager.vary(agent, 0.05, weight_noise=0.0, origin=None)
            found.append(agent.get_hyperparams().params["rate"])
        return found

    assert rates(1) == rates(1)
    assert len(set(rates(1) + rates(2))) == 6


def test_the_number_of_variants_is_limited():
    manager = PolicyManager(max_spawns=1)
    assert (manager.spawns_remaining, manager.budget_exhausted) == (1, False)
    manager.vary(Tunable(), 0.01, weight_noise=0.0, origin=None)
    assert (manager.spawns_remaining, manager.budget_exhausted) == (0, True)
    with pytest.raises(ConfigError, match="max_spawns"):
        manager.vary(Tunable(), 0.01, weight_noise=0.0, origin=None)
    assert PolicyManager().spawns_remaining is None


def linear(seed=0):
    env = TinyDiscrete()
    return LinearAgent(env.observation_space, env.action_space, seed=seed)


def test_a_variant_comes_from_the_best_checkpoint(tmp_path):
    registry, agent = CheckpointRegistry(tmp_path), linear()
    agent._weights["policy"] += 1.0
    agent._mean_square["policy"] += 0.25
    agent.set_hyperparams(HyperparamSet({"learning_rate": 0.02}))
    registry.save(agent, EvalMetrics(9.0, {}, 0), agent.get_hyperparams())
    agent._weights["policy"] += 5.0
    registry.save(agent, EvalMetrics(1.0, {}, 1), agent.get_hyperparams())
    shell = linear(5)
    variant = PolicyManager(registry, seed=1).spawn_variant(shell, 0.01, weight_noise=0.02)
    assert variant.origin == registry.best.snapshot_id
    np.testing.assert_allclose(shell._weights["policy"], 1.0, atol=0.15)
    assert not np.allclose(shell._weights["policy"], 1.0, atol=1e-4)
    np.testing.assert_array_equal(shell._mean_square["policy"], 0.25)  # the optimizer goes along
    rate = shell.get_hyperparams().params["learning_rate"]
    assert rate != 0.02
    assert rate == pytest.approx(0.02, rel=0.3)
    assert variant.changed["learning_rate"] == (0.02, rate)


def test_an_agent_without_noise_on_weights_says_so(tmp_path):
    del tmp_path
    variant = PolicyManager().vary(Tunable(), 0.01, weight_noise=0.05, origin=None)
    assert variant.weight_noise is None


def test_a_mutation_of_ones_own_and_what_the_agent_did_not_take(tmp_path):
    class Stubborn(Tunable):
        def set_hyperparams(self, hyperparams):
            super().set_hyperparams(HyperparamSet({**hyperparams.params, "epochs": 10}))

    registry = CheckpointRegistry(tmp_path)
    variant = PolicyManager(registry).spawn_variant(
        Stubborn(), mutation_fn=lambda params: {"epochs": params["epochs"] + 1, "rate": 0.01}
    )
    assert variant.changed == {"rate": (1e-3, 0.01)}
    assert variant.not_taken == {"epochs": (11, 10)}


def test_evolve_restores_the_best_only_where_it_is_better(tmp_path):
    registry, agent = CheckpointRegistry(tmp_path), ScriptedAgent()
    manager = PolicyManager(registry)
    assert not manager.evolve(agent, 0.0)
    agent.learned = 4
    registry.save(agent, EvalMetrics(10.0, {}, 0), HyperparamSet({}))
    agent.learned = 9
    assert not manager.evolve(agent, 10.0)
    assert agent.learned == 9
    assert manager.evolve(agent, 9.5)
    assert agent.learned == 4


def test_two_managers_agree_on_what_is_stored(tmp_path):
    first, agent = CheckpointRegistry(tmp_path), ScriptedAgent()
    one, two = PolicyManager(first), PolicyManager(CheckpointRegistry(tmp_path))
    for score in (1.0, 9.0, math.nan, 5.0):
        first.save(agent, EvalMetrics(score, {}, 0), HyperparamSet({}))
    for manager in (one, two):
        assert [s.eval_metrics.primary_score for s in manager.ranked_snapshots] == [9.0, 5.0, 1.0]
        assert manager.training_report()["best_score"] == 9.0


def test_without_a_registry_the_run_has_to_bring_one():
    with pytest.raises(ConfigError, match="registry"):
        _ = PolicyManager().ranked_snapshots


# ------------------------------------------------------------------ how far


def test_noise_is_small_while_training_rises_and_large_when_it_is_stuck(metrics):
    rising, stuck = np.arange(10.0) * 3, np.full(10, 5.0)
    assert adaptive_noise_scale(metrics(rising)) == pytest.approx(0.001)
    assert adaptive_noise_scale(metrics(stuck)) == 0.1
    assert adaptive_noise_scale([]) == 0.1
    falling = adaptive_noise_scale(metrics(-rising))
    assert falling == 0.1
    gap = adaptive_noise_scale(metrics(rising, gaps=[5.0 * i for i in range(10)]))
    assert 0.001 < gap < 0.1


@pytest.mark.parametrize("unit, zero", [(1e-3, 0.0), (1e3, -500.0), (1.0, 1e5)])
def test_noise_depends_on_neither_unit_nor_zero(metrics, unit, zero):
    rng = np.random.default_rng(0)
    scores, gaps = np.cumsum(rng.normal(0.1, 1.0, 30)), np.abs(rng.normal(0.0, 0.3, 30))
    assert adaptive_noise_scale(metrics(unit * scores + zero, list(unit * gaps))) == pytest.approx(
        adaptive_noise_scale(metrics(scores, list(gaps))), rel=1e-6
    )


def test_weight_noise():
    assert [weight_noise_after(k, None) for k in range(5)] == pytest.approx([0.01, 0.02, 0.04, 0.08, 0.1])
    assert weight_noise_after(50, None) == 0.1
    assert weight_noise_after(0, 0.0) == 0.01
    assert weight_noise_after(0, 0.5) == pytest.approx(0.01 / 1.5)
    assert weight_noise_after(0, 100.0) == 0.005


def test_status_has_the_contract_s_keys_and_survives_a_checkpoint():
    manager, _ = filled(2, max_spawns=4)
    manager.record_agent_score(1, 3.0)
    manager.set_regime("volatile")
    manager.vary(Tunable(), 0.1, weight_noise=0.0, origin=None)
    manager.record_outcome(replaced=True, improvement=0.25)
    status = manager.status()
    assert set(status) >= {
        "ensemble_size", "max_ensemble_size", "agents", "regime", "spawn_count", "max_spawns", "spawns_remaining",
        "budget_exhausted", "prune_count",
    }  # fmt: skip
    other, _ = filled(2, max_spawns=4)
    other.load_state_dict(manager.state_dict())
    assert other.status() == status
    assert other.weight_noise == manager.weight_noise == pytest.approx(0.008)
