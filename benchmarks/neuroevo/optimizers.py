"""After a mutation, does an optimizer that migrates do better than a plain Adam that is started anew?

    python benchmarks/neuroevo/optimizers.py

A graph of 8 tanh neurons learns a random teacher's outputs; after 100 steps a neuron is split and two delayed edges
come. Then three optimizers go on from the same point for 50 steps: TopologyAwareAdam with moments that are taken over,
the same with new slots that begin anew, and a new torch.optim.Adam. Printed are means over the 50 steps of the
logarithm of the loss, paired over seeds, with a t interval of 95 %.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import t as student

from optix_neuroevo import GraphModule, TopologyAwareAdam, add_free_edge, layered_graph, split_neuron

torch.set_num_threads(1)
SEEDS, BEFORE, AFTER = 12, 100, 50


def one(seed, kind):
    rng = np.random.default_rng(seed)
    teacher = GraphModule(layered_graph(3, 6, 2, rng, recurrent_delay=1, output_gain=1.0))
    graph = layered_graph(3, 8, 2, rng)
    student_module = GraphModule(graph)
    optimizer = TopologyAwareAdam(graph.parameters(), lr=0.01, transport=kind == "migrated")
    if kind != "restarted":
        graph.subscribe(lambda delta: optimizer.follow(delta, dict(graph.named_parameters())))
    losses = []
    for step in range(BEFORE + AFTER):
        if step == BEFORE:
            split_neuron(graph, graph.hidden_ids[0], rng=np.random.default_rng(seed))
            add_free_edge(graph, graph.input_ids[0], graph.hidden_ids[1], 1)
            add_free_edge(graph, graph.input_ids[1], graph.hidden_ids[2], 1)
            if kind == "restarted":
                optimizer = torch.optim.Adam(graph.parameters(), lr=0.01)
        x = rng.normal(size=(16, 16, 3)).astype(np.float32)
        with torch.no_grad():
            target, _ = teacher(x)
        optimizer.zero_grad()
        loss = (student_module(x)[0] - target).square().mean()
        loss.backward()
        optimizer.step()
        if step >= BEFORE:
            losses.append(float(loss.detach().log()))
    return float(np.mean(losses))


def main():
    found = {kind: [one(s, kind) for s in range(SEEDS)] for kind in ("migrated", "slots anew", "restarted")}
    for kind in ("migrated", "slots anew"):
        difference = np.array(found[kind]) - np.array(found["restarted"])
        half = student.ppf(0.975, SEEDS - 1) * difference.std(ddof=1) / np.sqrt(SEEDS)
        print(
            f"{kind} minus restarted: {difference.mean():+.4f} +- {half:.4f} (log loss; negative is better)"
        )


if __name__ == "__main__":
    main()
