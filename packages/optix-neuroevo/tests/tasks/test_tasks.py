"""Small tasks with known answers: XOR needs a neuron that was not there, echoes a delay, cues memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from optix_core.topology import Budget, EdgeGradients, Signals
from optix_core.types import EvalMetrics
from optix_neuroevo.control.controller import TopologyController
from optix_neuroevo.control.gates import NotImproving
from optix_neuroevo.graph.neuron_graph import NeuronGraph
from optix_neuroevo.graph.wiring import layered_graph
from optix_neuroevo.mutators.editing import GraphEditor
from optix_neuroevo.mutators.growing import AddMissingEdge
from optix_neuroevo.plan.absent import absent_gradients
from optix_neuroevo.plan.module import GraphModule
from optix_neuroevo.training.adam import TopologyAwareAdam

XOR_IN = np.array([[[-1, -1], [-1, 1], [1, -1], [1, 1]]], np.float32)
XOR_OUT = torch.tensor([[[-1.0], [1.0], [1.0], [-1.0]]])


def following(graph: NeuronGraph, lr: float) -> TopologyAwareAdam:
    optimizer = TopologyAwareAdam(graph.parameters(), lr=lr)
    graph.subscribe(lambda delta: optimizer.follow(delta, dict(graph.named_parameters())))
    return optimizer


def learn_xor(seed: int, *, grow: bool) -> tuple[float, int]:
    """Share of right answers, and hidden neurons."""
    graph = layered_graph(2, 0, 1, np.random.default_rng(seed), skip=True)
    module, optimizer = GraphModule(graph), following(graph, 0.05)
    controller = TopologyController.for_graph(
        graph, grow_op="add_neuron", gates=[NotImproving(window=8)], min_score_buffer=8, grow_cooldown=8,
        probation=0, max_neurons=3, seed=seed,
    )  # fmt: skip
    out = torch.zeros(0)
    for window in range(60):
        for _ in range(15):
            optimizer.zero_grad()
            out, _ = module(XOR_IN)
            loss = (out - XOR_OUT).square().mean()
            loss.backward()
            optimizer.step()
        if float(loss.detach()) < 0.02:
            break
        if grow:
            controller.on_episode_end(window, EvalMetrics(-float(loss.detach()), {}, window, timestamp=0.0))
    right = ((out.detach() > 0) == (XOR_OUT > 0)).float().mean()
    return float(right), len(graph.hidden_ids)


def test_xor_is_learned_from_no_hidden_neuron_only_when_growth_is_on() -> None:
    grown = [learn_xor(seed, grow=True) for seed in range(5)]
    assert sum(right == 1.0 for right, _ in grown) == 5
    assert all(1 <= hidden <= 3 for right, hidden in grown if right == 1.0)
    assert all(learn_xor(seed, grow=False)[0] < 1.0 for seed in range(2))


def signals(graph: NeuronGraph, module: GraphModule, delays: range) -> Signals:
    slots = graph.neurons.slots().tolist()
    found = absent_gradients(module.trace, list(delays))
    names = [graph.neuron_at(s) for s in slots]
    into = [s for s in slots if graph.get_neuron(graph.neuron_at(s)).role != "input"]
    return Signals(
        edge_gradients=tuple(
            EdgeGradients(
                delay=d, src=tuple(names), dst=tuple(graph.neuron_at(s) for s in into),
                gradient=found[k][np.ix_(into, slots)],
            )
            for k, d in enumerate(delays)
        )
    )  # fmt: skip


@pytest.mark.parametrize("true_delay", range(1, 9))
def test_the_delay_of_an_echo_is_found_exactly(true_delay: int) -> None:
    rng = np.random.default_rng(true_delay)
    graph = NeuronGraph(seed=0)
    graph.add_neuron("input", "linear", "x")
    graph.add_neuron("output", "linear", "y")
    graph.add_edge("x", "y", 0.1)
    module, optimizer = GraphModule(graph), following(graph, 0.05)
    x = rng.normal(size=(64, 16, 1)).astype(np.float32)
    target = torch.from_numpy(np.concatenate([np.zeros((true_delay, 16, 1), np.float32), x[:-true_delay]]))
    module.record = True
    module(x)[0].sub(target).square().mean().backward()
    mutator = AddMissingEdge()
    (proposal,) = mutator.propose(GraphEditor(graph), signals(graph, module, range(9)), Budget(), rng)
    assert proposal.payload == {"edges": [["x", "y", true_delay]]}
    with graph.edit("echo"):
        mutator.apply(GraphEditor(graph), proposal, rng)
    module.record = False
    loss = torch.ones(())
    for _ in range(150):
        optimizer.zero_grad()
        loss = module(x)[0].sub(target).square().mean()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 1e-3


def recall(neuron: str, seed: int, updates: int = 220) -> float:
    """Share of right answers to a cue of 5 steps ago."""
    rng = np.random.default_rng(seed)
    graph = layered_graph(2, 4, 1, rng, neuron=neuron)
    if "gru" in neuron:
        for name in graph.hidden_ids:
            values = np.array(graph.parameter_arrays[neuron].values[graph.slot_of(name)])
            values[7], values[2] = 1.0, -1.0  # un, bz
            graph.set_parameters(name, values)
    module, optimizer = GraphModule(graph), following(graph, 0.03)

    def batch() -> tuple[np.ndarray, torch.Tensor]:
        cue = rng.integers(0, 2, 128) * 2.0 - 1.0
        x = np.zeros((6, 128, 2), np.float32)
        x[0, :, 0], x[1:, :, 0] = cue, 0.3 * rng.normal(size=(5, 128))
        x[:, :, 1] = np.arange(6)[:, None] == 0
        return x, torch.from_numpy(cue.astype(np.float32))

    for _ in range(updates):
        x, cue = batch()
        optimizer.zero_grad()
        answer = module(x)[0][-1, :, 0]
        torch.nn.functional.soft_margin_loss(answer * 3.0, cue).backward()
        optimizer.step()
    x, cue = batch()
    return float(((module(x)[0][-1, :, 0].detach() > 0) == (cue > 0)).float().mean())


def test_a_cue_is_remembered_by_neurons_that_gradients_go_through() -> None:
    assert max(recall("trainable_lstm", seed) for seed in range(2)) >= 0.99
    assert max(recall("trainable_gru", seed) for seed in range(2)) >= 0.99
    assert all(recall("lstm", seed, 80) < 0.9 for seed in range(2))
