"""Building, asking, changing and keeping graphs."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from graph_twin import random_graph, random_run, stepped
from hypothesis import given, settings
from hypothesis import strategies as st

from optix_core.errors import CorruptCheckpoint, IncompatibleCheckpoint, PluginConflict
from optix_neuroevo import (
    GraphModule,
    GRUNeuron,
    LSTMNeuron,
    Neuron,
    NeuronGraph,
    NeuronType,
    TrainableLSTMNeuron,
    add_free_edge,
    average_graphs,
    insert_neuron_on_edge,
    layered_graph,
    neuron_type,
    prune_neuron,
    register_neuron_type,
    split_neuron,
    wire_randomly,
)
from optix_neuroevo.graph.keeping import load_graph, save_graph


def small(mode="clamp"):
    graph = NeuronGraph(mode, seed=0)
    graph.add_neuron("input", neuron_id="a")
    graph.add_neuron("input", neuron_id="b")
    graph.add_neuron("hidden", "tanh", "h", cell_type="inhibitory")
    graph.add_neuron("output", "linear", "y")
    graph.add_edge("a", "h", 0.5, edge_id="ah")
    graph.add_edge("b", "h", -1.0, 2, edge_id="bh")
    graph.add_edge("h", "y", -2.0, edge_id="hy")
    graph.add_edge("h", "h", -0.5, 1, edge_id="hh")
    return graph


def test_the_questions_of_the_contract():
    graph = small()
    assert (graph.n_neurons(), graph.n_edges()) == (4, 4)
    assert graph.input_ids == ["a", "b"]
    assert graph.hidden_ids == ["h"]
    assert graph.output_ids == ["y"]
    assert graph.all_neuron_ids() == ["a", "b", "h", "y"]
    assert graph.cell_type_of("h") == "inhibitory"
    edge = graph.get_edge("bh")
    assert (edge.edge_id, edge.src, edge.dst, edge.delay, edge.weight.item()) == ("bh", "b", "h", 2, -1.0)
    assert {e.edge_id for e in graph.edges_into("h")} == {"ah", "bh", "hh"}
    assert {e.edge_id for e in graph.edges_from("h")} == {"hy", "hh"}
    assert len(graph.all_edges()) == 4
    assert graph.effective_weight("hy") == -2.0
    graph.remove_edge("ah")
    graph.remove_neuron("h")
    assert (graph.n_neurons(), graph.n_edges()) == (3, 0)
    assert graph.forward([1.0, 2.0]).tolist() == [0.0]


def test_what_is_not_a_graph_is_refused():
    graph = small()
    for call, said in [
        (lambda: graph.add_neuron("middle"), "role"),
        (lambda: graph.add_neuron(activation="swish"), "activation"),
        (lambda: graph.add_neuron(cell_type="odd"), "cell type"),
        (lambda: graph.add_neuron(neuron="spiking"), "neuron type"),
        (lambda: graph.add_neuron(neuron_id="h"), "already"),
        (lambda: graph.add_edge("a", "nobody"), "no neuron"),
        (lambda: graph.add_edge("h", "a"), "input"),
        (lambda: graph.add_edge("h", "h", 1.0, 0), "cycle"),
        (lambda: graph.add_edge("y", "h", 1.0, 0), "cycle"),
        (lambda: graph.add_edge("a", "y", 1.0, -1), "delay"),
        (lambda: graph.add_edge("a", "y", float("nan")), "finite"),
        (lambda: graph.add_edge("a", "y", 1.0, 0, "hy"), "already"),
        (lambda: graph.remove_edge("nothing"), "no edge"),
        (lambda: graph.set_weight("hy", 1.0), "inhibitory"),
        (lambda: NeuronGraph("hard"), "dale_mode"),
        (lambda: NeuronGraph(dtype=np.float16), "float"),
    ]:
        with pytest.raises(ValueError, match=said):
            call()
    assert (graph.n_neurons(), graph.n_edges()) == (4, 4)
    graph.add_edge("y", "h", 1.0, 1)  # a cycle through time is fine


def test_dales_law_in_both_modes():
    clamped = small()
    clamped.parameter_arrays["theta"].values[clamped.edge_slot_of("hy")] = 3.0
    clamped.touch()
    clamped.enforce_dale()
    assert clamped.effective_weight("hy") == 0.0
    assert clamped.effective_weight("bh") == -1.0  # inputs are of type "any"
    soft = small("softplus")
    assert soft.effective_weight("hy") == pytest.approx(-2.0, rel=1e-6)
    for weight in (1e-5, 0.3, 30.0, 500.0):
        soft.set_weight("hy", -weight)
        assert soft.effective_weight("hy") == pytest.approx(-weight, rel=1e-4)
    assert soft.get_edge(soft.add_edge("h", "y", 0.7)).effective_weight == pytest.approx(-0.7, rel=1e-6)
    zero = soft.add_edge("h", "y")
    soft.parameter_arrays["theta"].values[soft.edge_slot_of(zero)] = -5.0  # a gradient step went too far
    soft.enforce_dale()
    assert soft.get_edge(zero).weight.item() == 0.0
    assert soft.effective_weight("hy") == pytest.approx(-500.0)


def test_prototypes_are_copied_and_step_alone():
    rng = np.random.default_rng(0)
    for make in (GRUNeuron, LSTMNeuron, TrainableLSTMNeuron):
        neuron = make(neuron_id="n", rng=rng)
        neuron.parameters += rng.normal(size=neuron.parameters.shape) * 0.3
        graph = NeuronGraph(dtype=np.float64)
        graph.add_neuron("input", neuron_id="i")
        assert graph.add_neuron("output", neuron=neuron) == "n"
        graph.add_edge("i", "n", 1.0)
        alone = []
        for x in (0.5, -1.0, 2.0):
            alone.append(neuron.step(x))
            neuron.push_history()
        assert [float(graph.forward([x])[0]) for x in (0.5, -1.0, 2.0)] == pytest.approx(alone, abs=1e-12)
        assert neuron.get_delayed(1) == alone[-1]
        assert neuron.get_delayed(5) == 0.0
        twin = neuron.split_copy()
        assert twin.neuron_id != neuron.neuron_id
        assert twin.parameters.tolist() == neuron.parameters.tolist()
        assert twin.can_merge_with(neuron)
        assert not twin.can_merge_with(Neuron())
        relay = neuron.make_relay()
        assert relay.step(0.3) == 0.3
        assert neuron.importance(2.0) == pytest.approx(2.0 * (abs(alone[-1]) + 1e-8))
    assert TrainableLSTMNeuron().is_recurrent
    assert not LSTMNeuron().is_recurrent
    assert (LSTMNeuron().bf, LSTMNeuron().bo, GRUNeuron().wz) == (1.0, 1.0, 0.0)


def test_a_plan_is_made_anew_only_after_the_structure_changed():
    graph = small()
    first = graph.plan()
    graph.forward([1.0, 0.0])
    graph.set_weight("ah", 0.1)
    graph.touch()
    GraphModule(graph)(np.zeros((2, 1, 2), np.float32))
    assert graph.plan() is first
    graph.add_edge("a", "y")
    assert graph.plan() is not first


def test_memory_of_the_own_environment_survives_every_change():
    graph = random_graph(4)
    other = graph.copy()
    observations, _, _ = random_run(graph, 0, n_envs=1)
    for row in observations[:6]:
        np.testing.assert_array_equal(graph.forward(row[0]), other.forward(row[0]))
    graph.add_neuron("hidden", neuron_id="new")
    graph.add_edge("new", "o0", 0.0, 4)
    graph.add_edge("h0", "new", 1.0, 1)
    graph.set_bias("new", 0.1)
    split_neuron(graph, "h0")
    insert_neuron_on_edge(graph, graph.all_edge_ids()[0])
    for row in observations[6:]:
        np.testing.assert_allclose(graph.forward(row[0]), other.forward(row[0]), atol=1e-5)


def test_parameters_stay_the_same_objects_while_capacity_grows():
    graph = layered_graph(2, 3, 1, np.random.default_rng(0))
    theta, bias = graph.parameters()
    GraphModule(graph)(torch.ones(1, 1, 2))[0].sum().backward()
    gradient = theta.grad.clone()
    capacity = len(theta)
    for _ in range(40):
        add_free_edge(graph, "h0", "h1", 1)
    assert len(theta) == len(graph.parameter_arrays["theta"].values) > capacity
    assert torch.equal(theta.grad[:capacity], gradient)
    assert graph.parameters()[0] is theta
    with torch.no_grad():
        theta[graph.edge_slot_of(graph.all_edge_ids()[0])] = 0.25
    assert graph.effective_weight(graph.all_edge_ids()[0]) == 0.25
    graph.add_neuron(neuron="lstm", neuron_id="l")
    assert [name for name, _ in graph.named_parameters()] == ["theta", "bias", "lstm"]
    assert bias is graph.parameters()[1]


def test_free_slots_are_used_again_and_numbers_never():
    graph = small()
    slot, uid = graph.slot_of("h"), graph.uid_of("h")
    graph.remove_neuron("h")
    graph.add_neuron(neuron_id="h")
    assert graph.slot_of("h") == slot
    assert graph.uid_of("h") != uid
    assert graph.get_neuron("h").bias.item() == 0.0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), mode=st.sampled_from(["clamp", "softplus"]))
def test_a_graph_comes_back_from_its_file_and_its_state(seed, mode, tmp_path_factory):
    graph = random_graph(seed, mode)
    observations, memory, starts = random_run(graph, seed)
    graph.forward(observations[0, 0])
    path = tmp_path_factory.mktemp("graph") / "graph.safetensors"
    save_graph(graph, path)
    for again in (load_graph(path), NeuronGraph.from_state(graph.state_dict())):
        for a, b in zip(
            stepped(again, observations, memory, starts),
            stepped(graph, observations, memory, starts),
            strict=True,
        ):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(again.memory, graph.memory)
        assert [e.edge_id for e in again.all_edges()] == [e.edge_id for e in graph.all_edges()]
        assert again.add_neuron() == graph.copy().add_neuron()


def test_going_back_across_a_growth():
    graph = layered_graph(2, 3, 1, np.random.default_rng(0), recurrent_delay=1)
    parameters = graph.parameters()
    graph.forward([1.0, 2.0])
    state, expected = graph.state_dict(), graph.copy().forward([0.5, 0.5])
    heard = []
    graph.subscribe(heard.append)
    split_neuron(graph, "h0")
    graph.add_neuron(neuron="gru", neuron_id="g")
    used = {graph.uid_of(n) for n in graph.all_neuron_ids()}
    graph.load_state_dict(state)
    np.testing.assert_array_equal(graph.forward([0.5, 0.5]), expected)
    assert graph.hidden_ids == ["h0", "h1", "h2"]
    assert graph.parameters()[:2] == parameters
    assert heard[-1].operation == "load_state_dict"
    assert "g" in heard[-1].neurons_removed
    assert graph.uid_of(graph.add_neuron()) > max(used)


def test_a_broken_state_changes_nothing(tmp_path):
    graph = small()
    before = graph.copy().forward([1.0, 1.0])
    state = graph.state_dict()
    for broken in (
        {**state, "format": 99},
        {k: v for k, v in state.items() if k != "edges"},
        {**state, "types": ["point", "unheard-of"], "type_parameters": {"unheard-of": ["x"]}},
        {**state, "parameters": {**state["parameters"], "theta": np.zeros(3, np.float32)}},
    ):
        with pytest.raises((IncompatibleCheckpoint, ValueError)):
            graph.load_state_dict(broken)
        np.testing.assert_array_equal(graph.copy().forward([1.0, 1.0]), before)
    path = tmp_path / "no-graph"
    path.write_bytes(b"not a file of ours")
    with pytest.raises(CorruptCheckpoint):
        load_graph(path)


def test_averaging_aligns_by_id_across_topologies():
    for mode in ("clamp", "softplus"):
        graph = layered_graph(2, 3, 1, np.random.default_rng(0), dale_mode=mode, dale=True)
        other = graph.copy()
        relay = insert_neuron_on_edge(other, other.all_edge_ids()[0])
        edge = graph.edges_between("i1", "h1")[0].edge_id
        other.set_weight(edge, 4.0)
        other.set_bias("h2", 1.0)
        mean = NeuronGraph.from_state(average_graphs([graph.state_dict(), other.state_dict()], [3.0, 1.0]))
        assert mean.hidden_ids == graph.hidden_ids
        assert mean.effective_weight(edge) == pytest.approx(
            0.75 * graph.effective_weight(edge) + 1.0, rel=1e-5
        )
        assert mean.get_neuron("h2").bias.item() == 0.25
        first = graph.all_edge_ids()[0]  # the other one does not have it any more
        assert mean.effective_weight(first) == pytest.approx(graph.effective_weight(first), rel=1e-6)
        grown = NeuronGraph.from_state(average_graphs([other.state_dict(), graph.state_dict()]))
        assert grown.has_neuron(relay)
    with pytest.raises(ValueError, match="averaging"):
        average_graphs([])


def test_random_wiring_lets_gradients_through_and_balances_signs():
    rng = np.random.default_rng(0)
    graph = layered_graph(3, 40, 2, rng, dale=True, recurrent_delay=1, dale_mode="softplus")
    GraphModule(graph)(torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(0)))[0].sum().backward()
    alive = graph.edges.alive
    assert (np.abs(graph.parameter_arrays["theta"].grad[alive]) > 0).mean() > 0.95
    total = [sum(e.effective_weight for e in graph.edges_into("o0"))]
    size = sum(abs(e.effective_weight) for e in graph.edges_into("o0"))
    assert abs(total[0]) < 0.4 * size
    sparse = layered_graph(8, 16, 2, rng, density=0.25)
    assert all(len(sparse.edges_into(h)) == 2 for h in sparse.hidden_ids)
    assert len({e.src for h in sparse.hidden_ids for e in sparse.edges_into(h)}) > 4
    with pytest.raises(ValueError, match="density"):
        wire_randomly(graph, ["i0"], ["h0"], rng, density=0.0)


def test_another_neuron_type_acts_learns_and_is_kept(tmp_path):
    def leaky(x, state, parameters, maths):
        (v,), (rate,) = state, parameters
        mix = maths.sigmoid(rate)
        after = (1.0 - mix) * v + mix * x
        return maths.tanh(after), (after,)

    kind = register_neuron_type(
        NeuronType(name="leaky-test", parameters=("rate",), state=("v",), is_recurrent=True, step=leaky),
        replace=True,
    )
    assert neuron_type("leaky-test") is kind
    with pytest.raises(PluginConflict):
        register_neuron_type(NeuronType(name="leaky-test"))
    with pytest.raises(ValueError, match="formula"):
        NeuronType(name="bad", parameters=("a",))
    graph = random_graph(1, types=("leaky-test", "point"), dtype=np.float64)
    observations, memory, starts = random_run(graph, 0)
    outputs, after = GraphModule(graph)(observations, memory, starts)  # without a jacobian: autograd
    expected, later = stepped(graph, observations, memory, starts)
    np.testing.assert_allclose(outputs.detach().numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(after.numpy(), later, atol=1e-12)
    with pytest.raises(ValueError, match="jacobian"):
        GraphModule(graph, executor="numpy")(observations, memory, starts)
    outputs.sum().backward()
    assert np.abs(graph.parameter_arrays["leaky-test"].grad).max() > 0
    save_graph(graph, tmp_path / "g")
    np.testing.assert_array_equal(
        stepped(load_graph(tmp_path / "g"), observations, memory, starts)[0], expected
    )


def test_acting_needs_no_pytorch():
    program = (
        "import sys, numpy as np\n"
        "from optix_neuroevo import layered_graph, split_neuron\n"
        "g = layered_graph(2, 3, 1, np.random.default_rng(0), recurrent_delay=1, neuron='gru')\n"
        "g.forward([1., 2.]); split_neuron(g, 'h0'); g.forward([1., 2.]); g.copy()\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_order_of_everything_does_not_depend_on_hashing():
    program = (
        "import numpy as np\n"
        "from optix_neuroevo import *\n"
        "g = layered_graph(3, 5, 2, np.random.default_rng(0), recurrent_delay=1, density=.5)\n"
        "split_neuron(g, 'h1', rng=np.random.default_rng(1)); insert_neuron_on_edge(g, g.all_edge_ids()[3])\n"
        "prune_neuron(g, 'h3')\n"
        "print(g.all_neuron_ids(), g.all_edge_ids(), g.plan().edge_cells.tolist(), g.forward([1, 2, 3]).tobytes())"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program], check=True, capture_output=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("0", "1", "77")
    }
    assert len(said) == 1
    assert prune_neuron is not None


def test_types_of_plugins_are_found_by_name():
    from optix_core.plugins.registry import default_registry
    from optix_neuroevo.neurons import types

    listed = {c.spec.name: c for c in default_registry().neuron_types()}
    assert set(listed) >= {"point", "gru", "lstm", "trainable_gru", "trainable_lstm", "morph"}
    known = types.neuron_type("morph")
    assert default_registry().create("neuron_type", "morph") is known
    kept = types._TYPES.pop("morph")  # as if it were of another distribution
    try:
        assert types.neuron_type("morph") is kept
    finally:
        types._TYPES["morph"] = kept
    for name, component in listed.items():
        assert component.spec.recurrent == neuron_type(name).is_recurrent
    with pytest.raises(ValueError, match="unknown neuron type"):
        neuron_type("nobody-has-it")
