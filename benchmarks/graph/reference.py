"""The side of tensor-optix; prints one JSON line of figures. Run by run.py in an environment of its own.

Its learning pass cannot do delays, so it has fewer edges than ours. A step takes so long that few are timed; their
cost does not depend on their number.
"""

from __future__ import annotations

import json

import torch
from cases import SIZES, best_us, edges, names
from common import machine, versions
from tensor_optix.neuroevo.agent.graph_agent import RecurrentGraphAgent
from tensor_optix.neuroevo.graph.neuron import TrainableGRUNeuron
from tensor_optix.neuroevo.graph.neuron_graph import NeuronGraph

LEARNED = {"4_8_3": 32, "16_64_8": 6, "32_256_8": 2}


def build(size, kind="point", *, delays=True):
    graph = NeuronGraph()
    inputs, hidden, outputs = names(size)
    for name in inputs:
        graph.add_neuron("input", "linear", name)
    for name in hidden:
        neuron = TrainableGRUNeuron(neuron_id=name) if kind == "trainable_gru" else None
        graph.add_neuron("hidden", "tanh", name, neuron=neuron)
    for name in outputs:
        graph.add_neuron("output", "linear", name)
    for src, dst, weight, delay in edges(size):
        if delays or delay == 0:  # its learning pass would add delayed edges within the step
            graph.add_edge(src, dst, weight, delay)
    return graph


def learning_us(size, kind):
    graph, steps = build(size, kind, delays=False), LEARNED[size]
    n_in, _, n_out = SIZES[size]
    agent = object.__new__(RecurrentGraphAgent)  # its constructor compiles, which is not what is measured
    agent.graph, agent.device = graph, torch.device("cpu")
    sequence = torch.randn(steps, n_in, generator=torch.Generator().manual_seed(0))

    def once():
        agent.recurrent_forward(sequence).sum().backward()

    assert agent.recurrent_forward(sequence[:1]).shape == (1, n_out)
    return best_us(once, repeats=1, calls=1) / steps


def main():
    torch.set_num_threads(1)
    figures = {}
    for size, (n_in, _, _) in SIZES.items():
        graph = build(size)
        observation = torch.randn(n_in, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            calls = 100 if size == "4_8_3" else 5
            figures[f"act_{size}_us"] = best_us(
                lambda g=graph, o=observation: g.forward(o), repeats=2, calls=calls
            )
        for kind in ("point", "trainable_gru"):
            figures[f"learn_{kind}_{size}_us"] = learning_us(size, kind)
    print(json.dumps({**figures, "versions": versions(), "machine": machine()}))


if __name__ == "__main__":
    main()
