"""Do the agents act as they learn, keep their memory through mutations, and continue bit for bit after growing?"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from optix_core import make_agent
from optix_core.errors import ConfigError
from optix_core.pipelines.vector import VectorBatchPipeline
from optix_core.testing import AgentConformance
from optix_neuroevo.agents.blocks import Blocks
from optix_neuroevo.agents.graph_agent import GraphAgent, RecurrentGraphAgent
from optix_neuroevo.agents.measuring import Measurements
from optix_neuroevo.agents.memory_rows import MemoryRows, tag_of
from optix_neuroevo.graph.wiring import layered_graph
from optix_neuroevo.operations.add import add_free_edge
from optix_neuroevo.operations.insert import insert_neuron_on_edge
from optix_neuroevo.operations.split import split_neuron
from optix_neuroevo.testing import example_graph


class TestGraphPPO(AgentConformance):
    agent = "optix-neuroevo:GraphPPO"


def graph(seed: int = 0, **kwargs: Any) -> Any:
    options = {"recurrent_delay": 1, **kwargs}
    return layered_graph(4, 5, 3, np.random.default_rng(seed), **options)


def pipeline(agent: Any, steps: int = 48, n_envs: int = 2) -> Any:
    made = VectorBatchPipeline([lambda: gym.make("CartPole-v1")] * n_envs, agent, steps, seed=3)
    made.setup()
    return made.episodes()


def agent_of(kind: type[GraphAgent] = RecurrentGraphAgent, seed: int = 0, **kwargs: Any) -> GraphAgent:
    return kind(graph(seed), 4, 2, seed=seed, **kwargs)


@pytest.mark.parametrize("neuron", ["point", "gru", "trainable_gru", "lstm", "trainable_lstm"])
@pytest.mark.parametrize("dale", [None, "clamp", "softplus"])
def test_what_learns_is_what_acted(neuron: str, dale: str | None) -> None:
    g = graph(neuron=neuron, dale=dale is not None, dale_mode=dale or "clamp")
    agent = RecurrentGraphAgent(g, 4, 2, seed=0, chunk_len=16)
    windows = pipeline(agent)
    for _ in range(3):
        found = agent.learn(next(windows))
        assert found["ratio_error"] < 1e-4
        assert found["n_updates"] > 0


def test_a_wrong_memory_shows_in_the_ratio() -> None:
    agent = agent_of(chunk_len=16)
    agent.graph.set_weight(agent.graph.all_edge_ids()[-1], 3.0)
    window = next(pipeline(agent))
    batch = agent._batch(window, agent._hp)
    from optix_neuroevo.agents.update import ratio_error, staged

    data, blocks = staged(batch), Blocks.cut(batch.ends, 16)
    assert ratio_error(agent._networks, data, blocks, agent._hp) < 1e-5
    wrong = data._replace(memory=data.memory * 0.0)
    assert ratio_error(agent._networks, wrong, blocks, agent._hp) > 1e-3


def test_blocks_cover_a_window_once_and_know_where_episodes_begin() -> None:
    ends = np.zeros((7, 2), np.bool_)
    ends[2, 0] = ends[3, 1] = True
    blocks = Blocks.cut(ends, 3)
    assert blocks.rows.shape == (3, 6)
    assert sorted(blocks.rows[blocks.there].tolist()) == list(range(14))
    begins = set(blocks.rows[blocks.starts].tolist())
    assert begins == {4 * 2 + 1}  # step 3 of environment 0 is the first of a block, where the memory says it
    assert [b.rows.shape[1] for b in blocks.minibatches(6, np.random.default_rng(0))] == [3, 3]


@pytest.mark.parametrize("kind", [GraphAgent, RecurrentGraphAgent])
def test_growth_in_the_middle_of_episodes_changes_no_action(kind: type[GraphAgent]) -> None:
    one, two = agent_of(kind), agent_of(kind)
    rng = np.random.default_rng(5)
    memory = [np.zeros((3, a.memory_size), np.float32) for a in (one, two)]
    for step in range(12):
        if step == 5:
            split_neuron(two.graph, two.graph.hidden_ids[0], rng=rng)
            insert_neuron_on_edge(two.graph, two.graph.all_edge_ids()[3], neuron="morph")
            add_free_edge(two.graph, two.graph.input_ids[0], two.graph.hidden_ids[1], 3)
        seen = rng.normal(size=(3, 4)).astype(np.float32)
        acted = []
        for i, agent in enumerate((one, two)):
            chosen, memory[i] = agent.act_batch_with_memory(seen, memory[i], deterministic=True)
            outputs, values, _ = agent._networks.step(seen, agent._rows.unpack(memory[i]))
            acted.append((chosen, outputs, values))
        assert np.array_equal(acted[0][0], acted[1][0])
        for a, b in zip(acted[0][1:], acted[1][1:], strict=True):
            assert np.allclose(a, b, rtol=0.0, atol=1e-5)


def test_rows_follow_several_changes_and_their_return() -> None:
    g = example_graph(0, dtype=np.float32)
    rows = MemoryRows(g)
    memory = np.random.default_rng(0).normal(size=(2, g.memory_size)).astype(np.float32)
    packed = rows.pack(memory)
    assert np.array_equal(rows.unpack(packed), memory)
    before = g.state_dict()
    added = add_free_edge(g, g.hidden_ids[0], g.hidden_ids[1], 5)
    first = rows.unpack(packed)
    assert first.shape[1] == g.memory_size > memory.shape[1]
    g.remove_edge(added)
    assert np.array_equal(rows.unpack(packed), memory)
    g.load_state_dict(before)
    assert np.array_equal(rows.unpack(packed), memory)
    assert not rows.unpack(np.zeros_like(packed)).any()
    assert 0 < tag_of(g.state_layout()) < 2**24


def test_a_memory_that_outgrows_its_rows_is_refused() -> None:
    with pytest.raises(ConfigError, match="memory_capacity="):
        RecurrentGraphAgent(graph(), 4, 2, memory_capacity=2)


def grow(agent: GraphAgent) -> None:
    split_neuron(agent.graph, agent.graph.hidden_ids[1], rng=np.random.default_rng(1))
    add_free_edge(agent.graph, agent.graph.input_ids[1], agent.graph.hidden_ids[0], 2)


def leaves(state: Any) -> Any:
    if isinstance(state, dict):
        return {k: leaves(v) for k, v in state.items() if k not in {"version", "born"}}
    if isinstance(state, list | tuple):
        return [leaves(v) for v in state]
    return state.tolist() if isinstance(state, np.ndarray) else state


@pytest.mark.parametrize("kind", [GraphAgent, RecurrentGraphAgent])
def test_saved_and_loaded_across_growth_it_goes_on_bit_for_bit(kind: type[GraphAgent]) -> None:
    agent = agent_of(kind)
    agent.measure(Measurements(length=8, parts=2))
    windows = pipeline(agent)
    kept = [next(windows)]
    agent.learn(kept[0])
    grow(agent)
    for _ in range(2):
        kept.append(next(windows))
        agent.learn(kept[-1])
    state = agent.state_dict()
    other = agent_of(kind, seed=9)
    other.load_state_dict(state)
    other.measure(Measurements(length=8, parts=2))
    assert leaves(other.state_dict()["graph"]) == leaves(state["graph"])
    for window in (kept[-1], kept[-2]):
        one, two = agent.learn(window), other.learn(window)
        assert one == two
    assert leaves(agent.state_dict()) == leaves(other.state_dict())


def test_going_back_to_before_a_growth_and_learning_again_is_as_if_nothing_happened() -> None:
    agent, plain = agent_of(), agent_of()
    windows = pipeline(plain)
    kept = [next(windows)]
    for a in (agent, plain):
        a.learn(kept[0])
    kept.append(next(windows))
    state = agent.state_dict()
    grow(agent)
    agent.load_state_dict(state)
    for a in (agent, plain):
        a.learn(kept[1])
    mine, theirs = agent.state_dict(), plain.state_dict()
    for name in ("theta", "bias"):
        here, there = (s["graph"]["networks"]["graph"]["parameters"][name] for s in (mine, theirs))
        assert np.array_equal(here[: len(there)], there)


def test_weights_carry_the_topology(tmp_path: Any) -> None:
    agent, other = agent_of(), agent_of(seed=4)
    grow(agent)
    agent.save_weights(str(tmp_path / "w"))
    other.load_weights(str(tmp_path / "w"))
    assert other.graph.n_neurons() == agent.graph.n_neurons()
    seen = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    memory = np.zeros((6, agent.memory_size), np.float32)
    for a, b in zip(*(x._networks.step(seen, x._rows.unpack(memory)) for x in (agent, other)), strict=True):
        assert np.array_equal(a, b)


def test_averages_of_different_topologies_match_by_number(tmp_path: Any) -> None:
    one, two = agent_of(), agent_of()
    edge = one.graph.all_edge_ids()[0]
    one.graph.set_weight(edge, 1.0)
    two.graph.set_weight(edge, 3.0)
    grow(two)
    for name, agent in (("a", one), ("b", two)):
        agent.save_weights(str(tmp_path / name))
    one.average_weights([str(tmp_path / "a"), str(tmp_path / "b")])
    assert one.graph.effective_weight(edge) == pytest.approx(2.0)


def test_the_factory_makes_what_it_is_told() -> None:
    env = gym.make("CartPole-v1")
    agent = make_agent("PPO", env, neuroevo=True, graph_hidden=3, seed=0)
    assert isinstance(agent, RecurrentGraphAgent)
    assert (len(agent.graph.input_ids), len(agent.graph.hidden_ids), len(agent.graph.output_ids)) == (4, 3, 3)
    assert agent.graph.type_of(agent.graph.hidden_ids[0]).name == "trainable_gru"
    assert isinstance(make_agent("SAC", gym.make("Pendulum-v1"), neuroevo=True), RecurrentGraphAgent)
    with pytest.raises(ConfigError, match="needs 3 outputs"):
        make_agent("PPO", env, neuroevo=True, graph_out=5)
    with pytest.raises(ConfigError, match="graph_in is 9"):
        make_agent("PPO", env, neuroevo=True, graph_in=9)


def test_long_observations_are_read_through_a_projection_that_learns() -> None:
    env = gym.make("CartPole-v1")
    agent = make_agent("PPO", env, neuroevo=True, graph_in=2, seed=0)
    before = agent._networks.extras["projection"].detach().clone()
    assert before.shape == (2, 4)
    found = agent.learn(next(pipeline(agent)))
    assert found["ratio_error"] < 1e-4
    assert not np.allclose(before, agent._networks.extras["projection"].detach())


def test_longer_observations_get_more_inputs() -> None:
    agent = GraphAgent(layered_graph(2, 3, 3, np.random.default_rng(0)), 4, 2, seed=0)
    assert len(agent.graph.input_ids) == 4


def test_a_gpu_is_refused_with_the_reason() -> None:
    with pytest.raises(ConfigError, match="share one memory"):
        agent_of(device="cuda")
