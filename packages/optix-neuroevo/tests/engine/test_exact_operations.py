"""Operations that promise to change nothing change nothing, in the middle of episodes; and the tests would notice."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from graph_twin import random_graph
from hypothesis import given, settings
from hypothesis import strategies as st
from operation_cases import EXACT, largest_change

from optix_neuroevo import NeuronGraph, insert_neuron_on_edge, split_neuron
from optix_neuroevo.graph import weights
from optix_neuroevo.graph.edit import Edit

LIMIT = 1e-5


@pytest.mark.parametrize("operation", EXACT)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), mode=st.sampled_from(["clamp", "softplus"]))
def test_outputs_stay_the_same_in_the_middle_of_an_episode(operation, seed, mode):
    assert largest_change(operation, seed, mode) <= LIMIT


@pytest.mark.parametrize("mode", ["clamp", "softplus"])
def test_several_operations_in_a_row_stay_exact(mode):
    for seed in range(8):
        for operation in ("insert", "split", "free_edge"):
            assert largest_change(operation, seed, mode, n_operations=3) <= 3 * LIMIT


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6), mode=st.sampled_from(["clamp", "softplus"]), name=st.sampled_from([*EXACT])
)
def test_dales_law_survives_every_operation(seed, mode, name):
    graph = random_graph(seed, mode)
    EXACT[name](graph, np.random.default_rng(seed))
    before = {e.edge_id: e.effective_weight for e in graph.all_edges()}
    graph.enforce_dale()
    assert {e.edge_id: e.effective_weight for e in graph.all_edges()} == before
    for e in graph.all_edges():
        sign = {"excitatory": 1, "inhibitory": -1, "any": 0}[graph.cell_type_of(e.src)]
        assert sign * e.effective_weight >= 0 or sign == 0


# --- planted mutants: what each operation could forget ----------------------------------------------------------------


def no_history(patch):
    patch.setattr(Edit, "continue_history", lambda *a, **k: None)


def history_not_shifted(patch):
    whole = Edit.continue_history
    patch.setattr(
        Edit, "continue_history",
        lambda self, new, old, shift=0, scale=1.0, fill_only=False: whole(self, new, old, shift=0, scale=scale),
    )  # fmt: skip


def history_not_turned(patch):
    whole = Edit.continue_history
    patch.setattr(
        Edit, "continue_history",
        lambda self, new, old, shift=0, scale=1.0, fill_only=False: whole(self, new, old, shift=shift),
    )  # fmt: skip


def no_state(patch):
    patch.setattr(Edit, "continue_variables", lambda *a, **k: None)


def halved_bias(patch):
    whole = NeuronGraph.add_neuron
    patch.setattr(
        NeuronGraph, "add_neuron", lambda self, *a, bias=0.0, **k: whole(self, *a, bias=bias / 2, **k)
    )


def fresh_parameters(patch):
    patch.setattr(NeuronGraph, "set_parameters", lambda *a, **k: None)


def kept_full_weights(patch):
    patch.setattr(NeuronGraph, "set_weight", lambda *a, **k: None)


def no_relay_of_inhibition(patch):
    whole = NeuronGraph.cell_type_of
    patch.setattr(
        NeuronGraph, "cell_type_of",
        lambda self, v: "excitatory" if whole(self, v) == "inhibitory" else whole(self, v),
    )  # fmt: skip


def delays_too_short(patch):
    whole = NeuronGraph.add_edge

    def add_edge(self, src, dst, weight=0.0, delay=0, edge_id=None):
        return whole(self, src, dst, weight, delay - 1 if delay > 1 else delay, edge_id)

    patch.setattr(NeuronGraph, "add_edge", add_edge)


def raw_theta(patch):
    """Operations that reckon with what is stored instead of effective weights."""
    patch.setattr(
        NeuronGraph, "effective_weight",
        lambda self, e: float(self.parameter_arrays["theta"].values[self.edge_slot_of(e)]),
    )  # fmt: skip


def softplus_of_minus_ten(patch):
    whole = weights.stored

    def stored(weight, cell, mode):
        theta, form = whole(weight, cell, mode)
        return (-10.0, weights.SOFTPLUS) if form == weights.RECTIFIED else (theta, form)

    patch.setattr(weights, "stored", stored)


def zero_is_a_little(patch):
    whole = NeuronGraph.add_edge
    patch.setattr(
        NeuronGraph, "add_edge", lambda self, s, d, w=0.0, *a, **k: whole(self, s, d, w or 1e-3, *a, **k)
    )  # fmt: skip


def merge_forgets_weights(patch):
    from optix_neuroevo.operations import merge

    patch.setattr(merge, "add_weight", lambda *a, **k: None)


def prune_forgets_delays(patch):
    from optix_neuroevo.operations import prune

    whole = prune.add_weight
    patch.setattr(
        prune,
        "add_weight",
        lambda g, s, d, delay, w, strict=True: whole(g, s, d, delay + 1, w, strict=strict),
    )


MUTANTS = [
    ("insert", no_history), ("insert", history_not_shifted), ("insert", history_not_turned),
    ("insert", no_relay_of_inhibition), ("insert", delays_too_short), ("insert", raw_theta),
    ("split", no_history), ("split", no_state), ("split", halved_bias), ("split", fresh_parameters),
    ("split", kept_full_weights), ("split", raw_theta), ("free_edge", softplus_of_minus_ten),
    ("new_input", zero_is_a_little),
    ("free_edge", zero_is_a_little), ("split_and_merge", merge_forgets_weights),
    ("insert_and_prune", prune_forgets_delays), ("split_and_merge", raw_theta),
]  # fmt: skip


@pytest.mark.parametrize("operation, mutant", MUTANTS, ids=lambda x: x if isinstance(x, str) else x.__name__)
def test_a_planted_mutant_is_caught(operation, mutant, monkeypatch):
    found = 0.0
    for seed in range(60):
        with monkeypatch.context() as patch:
            mutant(patch)
            try:
                found = max(found, *(largest_change(operation, seed, mode) for mode in ("softplus", "clamp")))
            except ValueError:  # Dale's law or the structure notices it
                found = np.inf
        if found > LIMIT:
            return
    pytest.fail(f"{mutant.__name__} went unnoticed: largest change {found}")


# --- what the deltas say ----------------------------------------------------------------------------------------------


def test_zero_edges_are_zero_and_learn_in_both_modes():
    import torch

    from optix_neuroevo import GraphModule, add_free_edge

    for mode in ("clamp", "softplus"):
        for cell in ("excitatory", "inhibitory"):
            graph = NeuronGraph(mode)
            graph.add_neuron("input", neuron_id="i", cell_type=cell)
            graph.add_neuron("output", "linear", "o")
            edge = add_free_edge(graph, "i", "o", 0)
            assert graph.effective_weight(edge) == 0.0
            outputs, _ = GraphModule(graph)(torch.full((1, 1, 1), 3.0))
            assert float(outputs.detach()) == 0.0
            outputs.sum().backward()
            assert abs(float(graph.get_edge(edge).weight.grad)) == 3.0


def test_a_split_gives_its_twins_different_gradients_only_with_drawn_shares():
    import torch

    from optix_neuroevo import GraphModule, layered_graph

    def gradients(rng):
        graph = layered_graph(2, 1, 2, np.random.default_rng(0))
        v, twin = split_neuron(graph, "h0", rng=rng)
        module = GraphModule(graph)
        module(torch.ones(3, 1, 2))[0][..., 0].sum().backward()
        return [float(graph.get_neuron(n).bias.grad) for n in (v, twin)]

    same, different = gradients(None), gradients(np.random.default_rng(1))
    assert same[0] == pytest.approx(same[1])
    assert abs(different[0] - different[1]) > 1e-3 * abs(different[0])


def test_a_delta_names_parameters_and_where_they_come_from():
    graph = NeuronGraph()
    graph.add_neuron("input", neuron_id="i")
    graph.add_neuron("output", "linear", "o")
    edge = graph.add_edge("i", "o", 0.5, 3)
    deltas = []
    graph.subscribe(deltas.append)
    old = graph.edge_slot_of(edge)
    relay = insert_neuron_on_edge(graph, edge)
    (delta,) = deltas
    assert delta.promise == "exact"
    assert delta.operation == "insert_neuron_on_edge"
    assert delta.neurons_added == (relay,)
    assert delta.edges_removed == (edge,)
    assert len(delta.edges_added) == 2
    assert sorted(delta.added["theta"].tolist()) == sorted(graph.edge_slot_of(e) for e in delta.edges_added)
    assert delta.added["bias"].tolist() == [graph.slot_of(relay)]
    onward = graph.edges_from(relay)[0]
    assert [(t.slot, t.source) for t in delta.transfers] == [(onward.slot, old)]
    assert (onward.delay, graph.edges_into(relay)[0].delay) == (2, 1)
    assert dataclasses.replace(delta).document()["details"]["edge"] == edge
