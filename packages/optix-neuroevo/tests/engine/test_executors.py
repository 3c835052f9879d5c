"""One semantics: the plain twin, acting one by one, acting in batches, and both ways of learning agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from graph_twin import TYPES, random_graph, random_run, stepped, twin_run
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from optix_neuroevo import GraphModule, NeuronGraph, absent_gradients, layered_graph
from optix_neuroevo.plan.step_layout import step_layout

SEEDS = st.integers(0, 10**6)
MODES = st.sampled_from(["clamp", "softplus"])


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, mode=MODES)
def test_numpy_and_torch_compute_what_the_twin_computes(seed, mode):
    graph = random_graph(seed, mode)
    observations, memory, starts = random_run(graph, seed)
    expected, after = twin_run(graph, observations, memory, starts)
    found, memory_after = stepped(graph, observations, memory, starts)
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(memory_after, after, atol=1e-5, rtol=1e-5)
    for executor in ("numpy", "autograd"):
        outputs, later = GraphModule(graph, executor=executor)(observations, memory, starts)
        np.testing.assert_allclose(outputs.detach().numpy(), expected, atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(later.numpy(), after, atol=1e-5, rtol=1e-5)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, mode=MODES)
def test_the_graphs_own_environment_is_one_of_a_batch(seed, mode):
    graph = random_graph(seed, mode)
    observations, _, _ = random_run(graph, seed, n_envs=1)
    expected, after = stepped(graph, observations, np.zeros((1, graph.memory_size), graph.dtype))
    graph.reset_state()
    found = np.stack([graph.forward(row[0]) for row in observations])
    np.testing.assert_allclose(found, expected[:, 0], atol=2e-6, rtol=1e-5)
    np.testing.assert_allclose(graph.memory, after[0], atol=2e-6, rtol=1e-5)
    graph.reset_state()
    np.testing.assert_array_equal(graph.forward(observations[0, 0]), found[0])


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("delay", range(6))
@pytest.mark.parametrize("mode", ["clamp", "softplus"])
def test_every_type_at_every_delay_in_both_modes(kind, delay, mode):
    graph = random_graph(delay, mode, types=(kind,), n_hidden=3, dtype=np.float64)
    backward = delay == 0 and graph.would_cycle("h0", "o0")
    graph.add_edge("o0" if backward else "h0", "h0" if backward else "o0", 0.7, delay)
    observations, memory, starts = random_run(graph, 1, steps=9)
    expected, _ = twin_run(graph, observations, memory, starts)
    assert np.abs(stepped(graph, observations, memory, starts)[0] - expected).max() < 1e-12
    for executor in ("numpy", "autograd"):
        outputs, _ = GraphModule(graph, executor=executor)(observations, memory, starts)
        assert np.abs(outputs.detach().numpy() - expected).max() < 1e-12


def test_an_impulse_comes_out_after_exactly_the_delay():
    for delay in range(6):
        graph = NeuronGraph()
        graph.add_neuron("input", neuron_id="i")
        graph.add_neuron("output", "linear", "o")
        graph.add_edge("i", "o", 2.0, delay)
        found = [float(graph.forward([1.0 if t == 0 else 0.0])[0]) for t in range(8)]
        assert found == [2.0 if t == delay else 0.0 for t in range(8)]


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, mode=MODES, executor=st.sampled_from(["numpy", "autograd"]))
def test_gradients_agree_with_finite_differences(seed, mode, executor):
    # detached types have no true derivative through their state, and relu none at its kink
    graph = random_graph(
        seed, mode, dtype=np.float64, types=("point", "trainable_gru", "trainable_lstm", "morph")
    )
    graph.neurons["activation"][graph.neurons["activation"] == 1] = 2
    graph.invalidate_compile()
    observations, memory, starts = random_run(graph, seed, steps=6, n_envs=2)
    rng = np.random.default_rng(seed)
    outputs, _ = GraphModule(graph, executor=executor)(observations, memory, starts)
    by_output = rng.normal(size=outputs.shape)
    (outputs * torch.from_numpy(by_output)).sum().backward()
    sizes = {n: a.values.size for n, a in graph.parameter_arrays.items()}
    for name, array in graph.parameter_arrays.items():
        used = graph.edges.alive if name == "theta" else graph.neurons.alive
        gradient = array.grad
        assert gradient is not None, sizes
        flat = array.values.reshape(-1)
        width = array.values[0].size
        for slot in rng.permutation(np.flatnonzero(used))[:3].tolist():
            at = slot * width + int(rng.integers(width))
            values = []
            for step in (1e-6, -1e-6):
                flat[at] += step
                graph.touch()
                values.append((stepped(graph, observations, memory, starts)[0] * by_output).sum())
                flat[at] -= step
            graph.touch()
            assert (values[0] - values[1]) / 2e-6 == pytest.approx(
                gradient.reshape(-1)[at], rel=1e-5, abs=1e-6
            )


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, mode=MODES)
def test_both_ways_of_learning_give_the_same_gradients(seed, mode):
    graph = random_graph(seed, mode, dtype=np.float64)
    observations, memory, starts = random_run(graph, seed)
    by_output = torch.from_numpy(np.random.default_rng(seed).normal(size=(12, 3, len(graph.output_ids))))
    found = []
    for executor in ("numpy", "autograd"):
        module = GraphModule(graph, executor=executor)
        module.record = True
        given_ = torch.from_numpy(observations).requires_grad_()
        module.zero_grad(set_to_none=True)
        outputs, _ = module(given_, memory, starts)
        (outputs * by_output).sum().backward()
        trace = module.trace
        found.append([
            *(torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in graph.parameters()),
            given_.grad, torch.from_numpy(trace.activity), torch.from_numpy(trace.delta),
        ])  # fmt: skip
    for a, b in zip(*found, strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-10)


def test_state_of_detached_types_is_data_to_gradients():
    gradients = {}
    for kind in ("gru", "trainable_gru", "lstm", "trainable_lstm"):
        graph = NeuronGraph(dtype=np.float64, seed=0)
        graph.add_neuron("input", neuron_id="i")
        graph.add_neuron(neuron_id="h", neuron=kind)
        graph.add_neuron("output", "linear", "o")
        graph.add_edge("i", "h", 1.0)
        graph.add_edge("h", "o", 1.0)
        observations = np.zeros((4, 1, 1))
        observations[0] = 1.0
        observations = torch.from_numpy(observations).requires_grad_()
        outputs, _ = GraphModule(graph)(observations)
        outputs[-1].sum().backward()
        gradients[kind] = float(observations.grad[0])
    assert gradients["gru"] == gradients["lstm"] == 0.0
    assert abs(gradients["trainable_gru"]) > 1e-4
    assert abs(gradients["trainable_lstm"]) > 1e-4


def test_a_sequence_in_pieces_is_the_sequence():
    graph = random_graph(11, n_hidden=6)
    observations, memory, starts = random_run(graph, 2, steps=20)
    module = GraphModule(graph)
    whole, after = module(observations, memory, starts)
    first, between = module(observations[:3], memory, starts[:3])
    second, last = module(observations[3:], between, starts[3:])
    assert torch.allclose(torch.cat([first, second]), whole, atol=1e-6)
    assert torch.allclose(last, after, atol=1e-6)


def test_acting_sees_every_step_of_an_optimizer():
    graph = layered_graph(2, 4, 2, np.random.default_rng(0), recurrent_delay=1)
    optimizer = torch.optim.Adam(graph.parameters(), lr=0.1)
    module = GraphModule(graph)
    observation = np.ones(2, np.float32)
    for _ in range(3):
        graph.reset_state()
        before = graph.forward(observation)
        loss = module(observation[None, None])[0].square().sum()
        assert np.abs(module(observation[None, None])[0].detach().numpy()[0, 0] - before).max() < 1e-6
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        graph.reset_state()
        assert np.abs(graph.forward(observation) - before).max() > 1e-3


def test_gradients_of_absent_edges_are_those_the_edges_would_get():
    rng = np.random.default_rng(0)
    graph = layered_graph(2, 3, 2, rng, recurrent_delay=1)
    observations = rng.normal(size=(10, 2, 2)).astype(np.float32)
    starts = np.zeros((10, 2), bool)
    starts[4, 0] = starts[7, 1] = True
    module = GraphModule(graph)
    module.record = True

    def gradient():
        module.zero_grad(set_to_none=True)
        outputs, _ = module(observations, None, starts)
        (outputs * torch.linspace(-1, 1, outputs.numel()).reshape(outputs.shape)).sum().backward()

    gradient()
    found = absent_gradients(module.trace, delays=(0, 1, 2, 3))
    for src, dst, delay in (("i0", "h1", 3), ("h2", "o1", 2), ("o0", "h0", 1), ("i1", "o0", 0)):
        edge = graph.add_edge(src, dst, 0.0, delay)
        gradient()
        expected = float(graph.get_edge(edge).weight.grad)
        assert found[delay, graph.slot_of(dst), graph.slot_of(src)] == pytest.approx(
            expected, rel=1e-4, abs=1e-6
        )
        graph.remove_edge(edge)


def test_wrong_shapes_are_named():
    graph = layered_graph(2, 3, 1, np.random.default_rng(0), recurrent_delay=1)
    with pytest.raises(ValueError, match="expected"):
        graph.forward([1.0])
    with pytest.raises(ValueError, match="expected"):
        graph.step(np.zeros((4, 3), np.float32), np.zeros((4, graph.memory_size), np.float32))
    with pytest.raises(ValueError, match="memory"):
        graph.step(np.zeros((4, 2), np.float32), np.zeros((4, 1), np.float32))
    with pytest.raises(ValueError, match="migrated"):
        GraphModule(graph)(np.zeros((5, 1, 2), np.float32), np.zeros((1, 9), np.float32))
    with pytest.raises(ValueError, match="starts"):
        GraphModule(graph)(np.zeros((5, 1, 2), np.float32), None, np.zeros((4, 1), bool))


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, mode=MODES, only_one_step_ago=st.booleans(), n_envs=st.sampled_from([1, 3]))
def test_delayed_edges_that_are_picked_one_by_one_count_as_in_a_matrix(seed, mode, only_one_step_ago, n_envs):
    graph = random_graph(seed, mode)
    if only_one_step_ago:
        graph.edges["delay"][graph.edges["delay"] > 1] = 1
        graph.invalidate_compile()
    observations, memory, starts = random_run(graph, seed, n_envs=n_envs)
    expected, after = stepped(graph, observations, memory, starts)
    # with delays of 1 linear loops may grow beyond all bounds, where a product by BLAS is silent and numpy's is not
    assume(max(np.abs(expected).max(initial=0.0), np.abs(after).max(initial=0.0)) < 1e6)
    assert not any(level.picks for level in step_layout(graph.plan()).levels)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"MANY": 0, "FEW": 99, "SHARE": 0}.items():
            patch.setattr(f"optix_neuroevo.plan.step_layout.{name}", value)
        graph.invalidate_compile()
        layout, plan = step_layout(graph.plan()), graph.plan()
        delayed = bool((graph.edges["delay"][graph.edges.alive] > 0).any())
        assert any(level.picks for level in layout.levels) == delayed
        if only_one_step_ago and int(plan.history_lags.max(initial=1)) == 1:
            assert layout.direct
        found, later = stepped(graph, observations, memory, starts)
        np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)
        np.testing.assert_allclose(later, after, atol=1e-5, rtol=1e-5)
        graph.memory = memory[0]  # the own environment takes the same way
        alone, rest = stepped(graph, observations[:, :1], memory[:1])
        one = np.stack([graph.forward(row[0]) for row in observations])
        np.testing.assert_allclose(one, alone[:, 0], atol=2e-6, rtol=1e-5)
        np.testing.assert_allclose(graph.memory, rest[0], atol=2e-6, rtol=1e-5)


def test_few_delayed_edges_among_many_are_picked_and_many_are_not():
    sparse = layered_graph(4, 130, 2, np.random.default_rng(0))
    for i in range(130):
        for k in (0, 1, 1):  # two of them between the same neurons
            sparse.add_edge(f"h{(i - k) % 130}", f"h{i}", 0.3, 1)
    layout = step_layout(sparse.plan())
    assert [level.picks for level in layout.levels] == [2, 0]
    assert layout.direct
    observations = np.random.default_rng(1).normal(size=(20, 3, 4)).astype(np.float32)
    expected, _ = GraphModule(sparse, executor="autograd")(observations)
    found, _ = stepped(sparse, observations, np.zeros((3, sparse.memory_size), np.float32))
    np.testing.assert_allclose(found, expected.detach().numpy(), atol=1e-5)
    dense = layered_graph(4, 64, 2, np.random.default_rng(0), recurrent_delay=1)
    assert [level.picks for level in step_layout(dense.plan()).levels] == [0, 0]
