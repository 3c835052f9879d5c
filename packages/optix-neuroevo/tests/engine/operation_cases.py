"""Every exact operation applied in the middle of an episode, and how far the outputs move."""

from __future__ import annotations

import numpy as np
from graph_twin import random_graph, random_run, stepped

from optix_neuroevo import (
    add_free_edge,
    add_input_neuron,
    insert_neuron_on_edge,
    merge_neurons,
    prune_neuron,
    split_neuron,
)


def pick(rng, names):
    return names[int(rng.integers(len(names)))]


def insert(graph, rng):
    edge = pick(rng, graph.all_edge_ids())
    insert_neuron_on_edge(graph, edge, neuron=("point", "morph")[int(rng.integers(2))])


def split(graph, rng):
    split_neuron(graph, pick(rng, graph.hidden_ids), rng=rng)


def halve(graph, rng):
    split_neuron(graph, pick(rng, graph.hidden_ids))


def free_edge(graph, rng):
    src, dst = pick(rng, graph.all_neuron_ids()), pick(rng, graph.hidden_ids + graph.output_ids)
    delay = int(rng.integers(0, 6))
    if delay or not graph.would_cycle(src, dst):
        add_free_edge(graph, src, dst, delay)


def new_input(graph, rng):
    add_input_neuron(graph)


def insert_and_prune(graph, rng):
    edge = pick(rng, graph.all_edge_ids())
    view = graph.get_edge(edge)
    relay = insert_neuron_on_edge(graph, edge)
    assert view.src in {e.src for e in graph.edges_into(relay)}
    prune_neuron(graph, relay)


def split_and_merge(graph, rng):
    v, twin = split_neuron(graph, pick(rng, graph.hidden_ids), rng=rng)
    merge_neurons(graph, v, twin)


EXACT = {
    "insert": insert,
    "split": split,
    "halve": halve,
    "free_edge": free_edge,
    "new_input": new_input,
    "insert_and_prune": insert_and_prune,
    "split_and_merge": split_and_merge,
}


def largest_change(operation, seed, mode, n_operations=1):
    """Largest difference of an output over 15 steps after an operation in the middle of an episode."""
    graph = random_graph(seed, mode, scale=0.5)
    observations, memory, starts = random_run(graph, seed, steps=15)
    before = graph.copy()
    moved = []
    graph.subscribe(moved.append)
    rng = np.random.default_rng(seed)
    for _ in range(n_operations):
        EXACT[operation](graph, rng)
    expected, _ = stepped(before, observations, memory, starts)
    for delta in moved:
        memory = delta.migration(memory)
    lacking = len(graph.input_ids) - observations.shape[2]
    if lacking:  # what a new input says must not matter
        extra = rng.normal(size=(*observations.shape[:2], lacking)).astype(np.float32)
        observations = np.concatenate([observations, extra], axis=2)
    found, _ = stepped(graph, observations, memory, starts)
    return float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max()))
