"""The side of optix-neuroevo, and of torch.nn.GRU beside it; prints one JSON line of figures. Run by run.py."""

from __future__ import annotations

import json

import numpy as np
import torch
from cases import MANY, SIZES, STEPS, best_us, edges, names
from common import machine, versions

from optix_neuroevo import GraphModule, NeuronGraph
from optix_neuroevo.plan.compile import compile_plan


def build(size, kind="point"):
    graph = NeuronGraph(seed=0)
    inputs, hidden, outputs = names(size)
    for name in inputs:
        graph.add_neuron("input", neuron_id=name)
    for name in hidden:
        graph.add_neuron("hidden", "tanh", name, neuron=kind)
    for name in outputs:
        graph.add_neuron("output", "linear", name)
    for src, dst, weight, delay in edges(size):
        graph.add_edge(src, dst, weight, delay)
    return graph


def learning_us(run, observations):
    """Microseconds per environment step of a pass forward and backward."""

    def once():
        run(observations).sum().backward()

    steps, n = observations.shape[:2]
    return best_us(once, repeats=3, calls=2) / (steps * n)


def compile_ms(n_edges, seed=0):
    """Milliseconds to compile a random graph, a tenth of whose edges have a delay."""
    rng = np.random.default_rng(seed)
    n = n_edges // 20
    graph = NeuronGraph(seed=0)
    ids = [graph.add_neuron("input") for _ in range(16)] + [graph.add_neuron() for _ in range(n)]
    ids += [graph.add_neuron("output", "linear") for _ in range(8)]
    while graph.n_edges() < n_edges:
        a, b = sorted(rng.choice(len(ids), 2, replace=False).tolist())
        if b >= 16:
            graph.add_edge(ids[a], ids[b], 0.1, int(rng.integers(1, 4)) if rng.random() < 0.1 else 0)

    def once():
        graph.invalidate_compile()
        compile_plan(graph)

    return best_us(once, calls=1) / 1e3, len(compile_plan(graph).levels)


def main():
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    figures = {}
    for size, (n_in, n_hidden, n_out) in SIZES.items():
        graph = build(size)
        observation = rng.normal(size=n_in).astype(np.float32)
        figures[f"act_{size}_us"] = best_us(lambda g=graph, o=observation: g.forward(o), calls=2000)
        for n in (1, MANY):
            many = rng.normal(size=(n, n_in)).astype(np.float32)
            memory = np.zeros((n, graph.memory_size), np.float32)
            call = best_us(lambda g=graph, o=many, m=memory: g.step(o, m), calls=300)
            figures[f"step_{n}_{size}_us"] = call / n
        for kind in ("point", "trainable_gru"):
            module = GraphModule(build(size, kind))
            for n in (1, MANY):
                sequence = torch.from_numpy(rng.normal(size=(STEPS, n, n_in)).astype(np.float32))
                found = learning_us(lambda x, m=module: m(x)[0], sequence)
                figures[f"learn_{kind}_{n}_{size}_us"] = found
        gru, head = torch.nn.GRU(n_in, n_hidden), torch.nn.Linear(n_hidden, n_out)
        for n in (1, MANY):
            sequence = torch.from_numpy(rng.normal(size=(STEPS, n, n_in)).astype(np.float32))
            figures[f"torch_gru_{n}_{size}_us"] = learning_us(lambda x, g=gru, h=head: h(g(x)[0]), sequence)
    for n_edges in (1_000, 20_000):
        figures[f"compile_{n_edges}_ms"], figures[f"levels_{n_edges}"] = compile_ms(n_edges)
    print(json.dumps({**figures, "versions": versions(), "machine": machine()}))


if __name__ == "__main__":
    main()
