"""Merging, pruning and rewiring: what is planted is found and folded, errors are reported, and limits are kept."""

from __future__ import annotations

import numpy as np
import pytest
from graph_twin import random_graph, random_run

from optix_neuroevo import (
    NeuronGraph,
    OperationRefused,
    Probe,
    cosine_similarity_neurons,
    edge_importance,
    insert_neuron_on_edge,
    layered_graph,
    merge_neurons,
    neuron_importance,
    prune_edge,
    prune_neuron,
    record_activity,
    rewire_edges,
    split_neuron,
)
from optix_neuroevo.operations import neuron_importances


def probe_of(graph, seed=0, steps=40, n_envs=4):
    observations, memory, starts = random_run(graph, seed, steps, n_envs, resets=0.05)
    return Probe(observations=observations, memory=memory, starts=starts)


def change(graph, operation, probe):
    """Largest change of an output over the probe, and the delta."""
    deltas = []
    graph.subscribe(deltas.append)
    before = probe.outputs(graph)
    operation()
    (delta,) = deltas
    return float(np.abs(probe.migrated(delta.migration).outputs(graph) - before).max()), delta


def twins(scale, offset, *, dale_mode="clamp", cell="any"):
    """A graph in which h1 is ``scale * h0 + offset``: two linear neurons behind the same tanh."""
    graph = layered_graph(3, 2, 2, np.random.default_rng(0), recurrent_delay=2, dale_mode=dale_mode)
    for name in ("a", "b"):
        graph.add_neuron("hidden", "linear", name, cell_type=cell)
    factor = {"a": 1.0, "b": scale}
    for name, by in factor.items():
        graph.add_edge("h0", name, 0.9 * by)
        graph.add_edge("i1", name, -0.4 * by, 1)
    graph.set_bias("b", offset)
    sign = -1.0 if cell == "inhibitory" else 1.0
    for name, weight, delay in (("a", 0.5, 0), ("b", 0.7, 0), ("b", 0.3, 3)):
        graph.add_edge(name, "o0", sign * weight, delay)
    graph.add_edge("b", "h1", sign * 0.2, 1)
    return graph


@pytest.mark.parametrize("scale, offset", [(1.0, 0.0), (2.5, 0.0), (-1.0, 0.0), (-0.5, 0.3)])
def test_scaled_shifted_and_opposite_twins_merge_exactly(scale, offset):
    graph = twins(scale, offset)
    probe = Probe(observations=random_run(graph, 1, 60, 3)[0])
    # an offset cannot be in past activations that were never made, so judge after they have faded
    before = probe.outputs(graph)
    merge_neurons(graph, "a", "b", probe=probe)
    assert not graph.has_neuron("b")
    assert np.abs(probe.outputs(graph) - before)[30:].max() < 1e-4


@pytest.mark.parametrize("mode", ["clamp", "softplus"])
def test_a_merge_that_dales_law_forbids_is_refused_and_changes_nothing(mode):
    graph = twins(-1.0, 0.0, dale_mode=mode, cell="excitatory")
    state = graph.state_dict()
    probe = probe_of(graph)
    with pytest.raises(OperationRefused, match="Dale"):
        merge_neurons(graph, "a", "b", probe=probe)
    after = graph.state_dict()
    for table in ("neurons", "edges", "parameters"):
        for name, array in state[table].items():
            np.testing.assert_array_equal(array, after[table][name])
    assert state["next_uid"] == after["next_uid"]


def test_unlike_neurons_merge_only_within_the_tolerance():
    graph = layered_graph(3, 6, 2, np.random.default_rng(2), recurrent_delay=1, output_gain=1.0)
    probe = probe_of(graph)
    with pytest.raises(OperationRefused, match="tolerance"):
        merge_neurons(graph, "h0", "h1", probe=probe, tolerance=1e-3)
    assert graph.has_neuron("h1")
    measured, delta = change(graph, lambda: merge_neurons(graph, "h0", "h1", probe=probe), probe)
    assert delta.promise == "approximate"
    assert delta.output_change == pytest.approx(measured, rel=1e-4)
    assert measured > 1e-3


def test_what_cannot_be_merged():
    graph = layered_graph(2, 2, 1, np.random.default_rng(0))
    graph.add_neuron(neuron_id="g", neuron="gru")
    for a, b in (("h0", "h0"), ("h0", "o0"), ("i0", "h0"), ("h0", "g")):
        with pytest.raises(ValueError, match=r"merged|neuron"):
            merge_neurons(graph, a, b)
    graph.add_edge("h0", "h1", 0.1)
    graph.add_edge("h1", "o0", 0.1)
    with pytest.raises(OperationRefused, match="cycle"):
        merge_neurons(graph, "h1", "h0")  # h1 would read itself within the step


def test_a_neuron_that_others_predict_is_pruned_almost_without_a_trace():
    rng = np.random.default_rng(0)
    graph = layered_graph(3, 4, 2, rng, recurrent_delay=1)
    graph.add_neuron(neuron_id="d", activation="tanh")
    for i in range(3):  # so little input that tanh is nearly linear
        graph.add_edge(f"i{i}", "d", 0.05 * (i - 1.4), i % 2)
    graph.set_bias("d", 0.7)
    graph.add_edge("d", "o0", 1.5)
    graph.add_edge("d", "h1", 0.8, 1)
    observations = random_run(graph, 3, 80, 3)[0]
    probe = Probe(observations=np.clip(observations, -1, 1))
    plain = graph.copy()
    before = probe.outputs(graph)
    prune_neuron(graph, "d", probe=probe)
    assert np.abs(probe.outputs(graph) - before)[6:].max() < 0.02
    prune_neuron(plain, "d", redistribute=False)
    assert np.abs(probe.outputs(plain) - before)[6:].max() > 0.5  # what folding is good for
    assert len({(e.src, e.dst, e.delay) for e in graph.all_edges()}) == graph.n_edges()  # no parallel edges


def test_a_dead_neuron_goes_without_any_change():
    graph = layered_graph(3, 4, 2, np.random.default_rng(0), recurrent_delay=1)
    graph.add_neuron(neuron_id="d", activation="relu", bias=-100.0)
    graph.add_edge("i0", "d", 1.0)
    graph.add_edge("d", "o1", 5.0)
    probe = probe_of(graph)
    measured, _ = change(graph, lambda: prune_neuron(graph, "d", probe=probe, tolerance=1e-4), probe)
    assert measured <= 1e-4


def test_gated_targets_take_a_constant_too():
    graph = NeuronGraph(seed=0)
    graph.add_neuron("input", neuron_id="i")
    graph.add_neuron(neuron_id="v", activation="linear", bias=0.4)
    graph.add_neuron(neuron_id="g", neuron="trainable_lstm")
    graph.add_neuron("output", "linear", "o")
    graph.add_edge("i", "v", 0.5)
    graph.add_edge("v", "g", 1.2)
    graph.add_edge("g", "o", 1.0)
    graph.parameter_arrays["trainable_lstm"].values[graph.slot_of("g")] += 0.3
    graph.touch()
    probe = probe_of(graph)
    measured, _ = change(graph, lambda: prune_neuron(graph, "v"), probe)
    assert measured < 1e-5


def test_pruning_an_edge_reports_what_it_changed_and_can_compensate_the_mean():
    graph = layered_graph(2, 3, 1, np.random.default_rng(0), output_gain=1.0)
    graph.set_bias("h0", 3.0)  # nearly constant
    edge = graph.edges_between("h0", "o0")[0].edge_id
    probe = probe_of(graph)
    plain = graph.copy()
    lost, delta = change(plain, lambda: prune_edge(plain, edge, probe=probe), probe)
    assert delta.output_change == pytest.approx(lost, rel=1e-5)
    compensated, _ = change(graph, lambda: prune_edge(graph, edge, compensate=True, probe=probe), probe)
    assert compensated < 0.3 * lost
    with pytest.raises(ValueError, match="probe"):
        prune_edge(graph, graph.all_edge_ids()[0], compensate=True)


def test_inputs_and_outputs_are_not_pruned_or_split():
    graph = layered_graph(2, 1, 1, np.random.default_rng(0))
    for name in ("i0", "o0"):
        with pytest.raises(ValueError, match="only hidden"):
            prune_neuron(graph, name)
        with pytest.raises(ValueError, match="only hidden"):
            split_neuron(graph, name)
    with pytest.raises(ValueError, match="share"):
        split_neuron(graph, "h0", share=1.0)
    with pytest.raises(ValueError, match="relay"):
        insert_neuron_on_edge(graph, graph.all_edge_ids()[0], neuron="gru")


def test_rewiring_is_all_or_nothing():
    graph = layered_graph(2, 3, 1, np.random.default_rng(0))
    drop = graph.edges_between("i0", "h0")[0].edge_id
    edges = set(graph.all_edge_ids())
    with pytest.raises(ValueError, match="cycle"):
        rewire_edges(graph, [drop], [("i1", "o0", 2), ("o0", "h1", 0)])
    assert set(graph.all_edge_ids()) == edges
    first, second = rewire_edges(graph, [drop], [("i1", "o0", 2), ("o0", "h1", 1)])
    assert graph.effective_weight(first) == graph.effective_weight(second) == 0.0
    assert not graph.has_edge(drop)
    with pytest.raises(OperationRefused, match="tolerance"):
        strong = max(graph.all_edges(), key=lambda e: abs(e.effective_weight)).edge_id
        rewire_edges(graph, [strong], [], probe=probe_of(graph), tolerance=1e-9)
    assert graph.has_edge(strong)


def test_an_inner_change_that_fails_undoes_only_itself():
    graph = layered_graph(2, 3, 1, np.random.default_rng(0), recurrent_delay=1)
    graph.forward(np.ones(2))
    held = graph.memory
    deltas = []
    graph.subscribe(deltas.append)
    probe = probe_of(graph)
    with graph.edit("both"):
        relay = insert_neuron_on_edge(graph, graph.all_edge_ids()[0])
        with pytest.raises(OperationRefused):
            prune_neuron(graph, "h0", redistribute=False, probe=probe_after(graph, probe), tolerance=1e-9)
        assert graph.has_neuron("h0")
    (delta,) = deltas
    assert delta.neurons_added == (relay,)
    assert delta.neurons_removed == ()
    np.testing.assert_allclose(graph.memory, delta.migration(held))
    with pytest.raises(RuntimeError), graph.edit("fails"):
        split_neuron(graph, "h1")
        raise RuntimeError
    assert len(deltas) == 1
    np.testing.assert_allclose(graph.memory, delta.migration(held))


def probe_after(graph, probe):
    return Probe(observations=probe.observations, starts=probe.starts)


def test_a_tolerance_needs_a_probe():
    graph = layered_graph(2, 1, 1, np.random.default_rng(0))
    with pytest.raises(ValueError, match="probe"):
        prune_neuron(graph, "h0", tolerance=0.1)


@pytest.mark.parametrize("mode", ["clamp", "softplus"])
def test_importance_is_by_effective_weights(mode):
    graph = NeuronGraph(mode)
    graph.add_neuron("input", neuron_id="i", cell_type="excitatory")
    graph.add_neuron(neuron_id="h", activation="linear", cell_type="inhibitory")
    graph.add_neuron("output", "linear", "o")
    first, second = graph.add_edge("i", "h", 0.5), graph.add_edge("h", "o", -2.0)
    loop = graph.add_edge("h", "h", -0.25, 1)
    graph.forward([3.0])
    assert edge_importance(graph, second) == pytest.approx(2.0)
    assert [edge_importance(graph, e) for e in (first, loop)] == pytest.approx([0.5, 0.25])
    assert neuron_importance(graph, "h") == pytest.approx(2.75 * 1.5, rel=1e-5)
    probe = Probe(observations=np.full((3, 1, 1), 2.0, np.float32))
    activity = record_activity(graph, probe)
    mean = np.abs(activity[:, graph.slot_of("h")]).mean()
    assert neuron_importance(graph, "h", activity) == pytest.approx(2.75 * (mean + 1e-8), rel=1e-5)
    values = neuron_importances(graph, np.ones(graph.neurons.capacity))
    assert values[graph.slot_of("o")] == pytest.approx(2.0, rel=1e-5)
    assert values[~graph.neurons.alive].sum() == 0.0


def test_similarity_is_the_cosine_of_activities():
    graph = twins(-2.0, 0.0)
    activity = record_activity(graph, probe_of(graph))
    assert cosine_similarity_neurons(graph, "a", "b", activity) == pytest.approx(-1.0, abs=1e-6)
    a, h = (activity[:, graph.slot_of(n)].ravel() for n in ("a", "h1"))
    expected = a @ h / np.linalg.norm(a) / np.linalg.norm(h)
    assert cosine_similarity_neurons(graph, "a", "h1", activity) == pytest.approx(expected, rel=1e-5)


def test_recorded_activity_is_what_neurons_gave():
    graph = random_graph(5)
    observations, memory, starts = random_run(graph, 5)
    activity = record_activity(graph, Probe(observations=observations, memory=memory, starts=starts))
    outputs = Probe(observations=observations, memory=memory, starts=starts).outputs(graph)
    for i, name in enumerate(graph.output_ids):
        np.testing.assert_array_equal(activity[:, graph.slot_of(name)], outputs[..., i])
    for i, name in enumerate(graph.input_ids):
        np.testing.assert_array_equal(activity[:, graph.slot_of(name)], observations[..., i])
