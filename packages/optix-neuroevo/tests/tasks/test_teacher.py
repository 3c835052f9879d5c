"""Does pruning bring a student that is too large back to the size of its teacher, and not below?"""

from __future__ import annotations

import numpy as np
import torch

from optix_neuroevo.graph.neuron_graph import NeuronGraph
from optix_neuroevo.graph.wiring import layered_graph
from optix_neuroevo.operations.measures import neuron_importance
from optix_neuroevo.operations.prune import prune_neuron
from optix_neuroevo.plan.module import GraphModule
from optix_neuroevo.plan.probe import Probe
from optix_neuroevo.training.adam import TopologyAwareAdam

TRUE, STUDENT, SOLVED = 4, 8, 1e-3


def teacher() -> NeuronGraph:
    """Four tanh neurons, each of two of the three inputs: none of them can be done without."""
    graph = NeuronGraph(seed=0)
    inputs = [graph.add_neuron("input", neuron_id=f"i{i}") for i in range(3)]
    out = graph.add_neuron("output", "linear", "o")
    reads = [(0, 1, 1.5, 1.5), (1, 2, 1.5, -1.5), (0, 2, -1.5, 1.5), (0, 1, 1.5, -1.5)]
    for k, (a, b, x, y) in enumerate(reads):
        hidden = graph.add_neuron(neuron_id=f"h{k}", bias=0.5 - 0.3 * k)
        graph.add_edge(inputs[a], hidden, x)
        graph.add_edge(inputs[b], hidden, y)
        graph.add_edge(hidden, out, 1.0 if k % 2 else -1.0)
    return graph


def learn(graph: NeuronGraph, x: np.ndarray, y: torch.Tensor, *, updates: int) -> float:
    """The loss after at most so many updates."""
    module, optimizer = GraphModule(graph), TopologyAwareAdam(graph.parameters(), lr=0.03)
    loss = torch.ones(())
    for update in range(updates):
        for group in optimizer.param_groups:
            group["lr"] = 0.03 * (1.0 - update / updates)
        optimizer.zero_grad()
        loss = (module(x)[0] - y).square().mean()
        if float(loss.detach()) < 0.5 * SOLVED:
            break
        loss.backward()
        optimizer.step()
    return float(loss.detach())


def pruned(graph: NeuronGraph, x: np.ndarray, y: torch.Tensor) -> float:
    """Take neurons away, least important first, as long as learning makes up for it; the loss that is left."""
    loss = learn(graph, x, y, updates=1500)
    probe = Probe(observations=x)
    while True:
        activity = probe.activity(graph)
        ranked = sorted(graph.hidden_ids, key=lambda n, a=activity: neuron_importance(graph, n, a))
        for name in ranked:
            before = graph.state_dict()
            prune_neuron(graph, name, probe=probe)
            after = learn(graph, x, y, updates=600)
            if after < SOLVED:
                loss = after
                break
            graph.load_state_dict(before)  # that one was needed
        else:
            return loss


def test_a_student_is_pruned_back_to_the_size_of_its_teacher() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 192, 3)).astype(np.float32)
    with torch.no_grad():
        y, _ = GraphModule(teacher())(x)
    student = layered_graph(3, STUDENT, 1, rng, output_gain=1.0)
    loss = pruned(student, x, y)
    assert loss < SOLVED
    assert len(student.hidden_ids) == TRUE
    fresh = rng.normal(size=(1, 500, 3)).astype(np.float32)  # it is the teacher's function, not the sample's
    with torch.no_grad():
        error = (GraphModule(student)(fresh)[0] - GraphModule(teacher())(fresh)[0]).square().mean()
    assert float(error) < 10 * SOLVED
