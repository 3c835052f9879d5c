"""A plain twin of the engine, one number at a time, and random graphs to compare on.

The twin shares nothing with the engine but the questions that the graph answers about its neurons and edges: formulas
of neuron types, of Dale's law and of memory are written down here a second time.
"""

from __future__ import annotations

import math

import numpy as np

from optix_neuroevo import NeuronGraph

TYPES = ("point", "gru", "lstm", "trainable_gru", "trainable_lstm", "morph")
ACTIVATIONS = ("linear", "relu", "tanh", "sigmoid", "elu")
CELLS = ("excitatory", "inhibitory", "any")


def sigmoid(x):
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))


FUNCTIONS = {
    "linear": lambda x: x,
    "relu": lambda x: max(x, 0.0),
    "tanh": math.tanh,
    "sigmoid": sigmoid,
    "elu": lambda x: x if x > 0 else math.expm1(x),
}


def own_step(kind, x, state, p):
    """One neuron of a type with parameters: its activation and its state after."""
    if kind.endswith("gru"):
        wz, uz, bz, wr, ur, br, wn, un, bn = p
        h = state[0]
        z, r = sigmoid(wz * h + uz * x + bz), sigmoid(wr * h + ur * x + br)
        new = (1 - z) * h + z * math.tanh(wn * r * h + un * x + bn)
        return new, [new]
    if kind.endswith("lstm"):
        wf, uf, bf, wi, ui, bi, wg, ug, bg, wo, uo, bo = p
        h, c = state
        f, i = sigmoid(wf * h + uf * x + bf), sigmoid(wi * h + ui * x + bi)
        c = f * c + i * math.tanh(wg * h + ug * x + bg)
        new = sigmoid(wo * h + uo * x + bo) * math.tanh(c)
        return new, [new, c]
    a, b = p
    return (1 - a) * (x + b) + a * math.tanh(x + b), []


def weight_of(graph, edge):
    """The effective weight, from what is stored and Dale's law."""
    theta, cell = edge.weight.item(), graph.cell_type_of(edge.src)
    if graph.dale_mode == "clamp" or cell == "any":
        return theta
    sign = -1.0 if cell == "inhibitory" else 1.0
    if graph.edges["form"][edge.slot] == 2:
        return sign * max(theta, 0.0)
    return sign * math.log1p(math.exp(theta))


def twin_run(graph, observations, memory=None, starts=None):
    """Outputs ``[T, B, n_out]`` and memory after ``[B, M]``."""
    layout = graph.state_layout()
    columns = layout.keys()
    keys = [(graph.name_of_uid(uid), kind, index) for uid, kind, index in columns]
    steps, n_envs, _ = observations.shape
    outputs = np.zeros((steps, n_envs, len(graph.output_ids)))
    after = np.zeros((n_envs, len(keys)))
    edges = {v: graph.edges_into(v) for v in graph.all_neuron_ids()}
    weights = {e.edge_id: weight_of(graph, e) for e in graph.all_edges()}
    views = {v: graph.get_neuron(v) for v in graph.all_neuron_ids()}
    order = _in_order(graph.all_neuron_ids(), edges)
    positions = {v: i for i, v in enumerate(graph.input_ids)}
    for b in range(n_envs):
        held = {key: 0.0 if memory is None else float(memory[b, j]) for j, key in enumerate(keys)}
        for t in range(steps):
            if starts is not None and starts[t, b]:
                held = dict.fromkeys(held, 0.0)
            h, states = {}, {}
            for v in order:
                view = views[v]
                if view.role == "input":
                    h[v] = float(observations[t, b, positions[v]])
                    continue
                x = sum(
                    weights[e.edge_id] * (h[e.src] if e.delay == 0 else held[e.src, 0, e.delay])
                    for e in edges[v]
                )
                if view.parameters is None:
                    h[v] = FUNCTIONS[view.activation](x + view.bias.item())
                else:
                    n_state = sum(k[0] == v and k[1] == 1 for k in keys)
                    before = [held[v, 1, i] for i in range(n_state)]
                    h[v], states[v] = own_step(view.type_name, x, before, view.parameters.data.tolist())
            outputs[t, b] = [h[v] for v in graph.output_ids]
            held = {
                (v, kind, i): states[v][i] if kind == 1 else h[v] if i == 1 else held[v, 0, i - 1]
                for v, kind, i in keys
            }
        after[b] = [held[key] for key in keys]
    return outputs, after


def _in_order(names, edges):
    done, order = set(), []

    def visit(v):
        if v not in done:
            done.add(v)
            for e in edges[v]:
                if e.delay == 0:
                    visit(e.src)
            order.append(v)

    for v in names:
        visit(v)
    return order


def random_graph(
    seed, dale_mode="clamp", *, dtype=np.float32, types=TYPES, n_hidden=None, deepest=5, scale=0.6
):
    """A random graph of all neuron types, activations, cell types and delays, parallel edges and self-loops."""
    rng = np.random.default_rng(seed)
    graph = NeuronGraph(dale_mode, dtype=dtype, seed=seed)
    inputs = [graph.add_neuron("input", neuron_id=f"i{i}") for i in range(rng.integers(1, 4))]
    hidden = [
        graph.add_neuron(
            "hidden", str(rng.choice(ACTIVATIONS)), f"h{i}", neuron=str(rng.choice(types)),
            cell_type=str(rng.choice(CELLS)), bias=float(rng.normal() * 0.5), max_delay=int(rng.integers(0, 3)),
        )
        for i in range(int(rng.integers(1, 8)) if n_hidden is None else n_hidden)
    ]  # fmt: skip
    outputs = [
        graph.add_neuron("output", str(rng.choice(["linear", "tanh"])), f"o{i}")
        for i in range(rng.integers(1, 4))
    ]
    for name, array in graph.parameter_arrays.items():
        if name not in {"theta", "bias"}:
            noise = rng.normal(size=array.values.shape).astype(dtype) * 0.4
            array.values[graph.neurons.alive] += noise[graph.neurons.alive]
    graph.touch()
    sources, targets = inputs + hidden + outputs, hidden + outputs
    for _ in range(3 * len(targets) + 4):
        src, dst = str(rng.choice(sources)), str(rng.choice(targets))
        delay = int(rng.integers(0, deepest + 1)) if rng.random() < 0.7 else 0
        if delay == 0 and graph.would_cycle(src, dst):
            continue
        weight = float(rng.normal()) * scale
        cell = graph.cell_type_of(src)
        weight = abs(weight) if cell == "excitatory" else -abs(weight) if cell == "inhibitory" else weight
        graph.add_edge(src, dst, weight, delay)
    return graph


def random_run(graph, seed, steps=12, n_envs=3, resets=0.15):
    """Observations, memory in the middle of an episode, and starts, in the graph's dtype."""
    rng = np.random.default_rng(seed)
    observations = rng.normal(size=(steps, n_envs, len(graph.input_ids))).astype(graph.dtype)
    before = rng.normal(size=(8, n_envs, len(graph.input_ids))).astype(graph.dtype)
    memory = np.zeros((n_envs, graph.memory_size), graph.dtype)
    for row in before:
        _, memory = graph.step(row, memory)
    return observations, memory, rng.random((steps, n_envs)) < resets


def stepped(graph, observations, memory, starts=None):
    """Outputs by ``graph.step``, and the memory after."""
    outputs = []
    for t, row in enumerate(observations):
        if starts is not None:
            memory = np.where(starts[t][:, None], 0, memory).astype(graph.dtype)
        out, memory = graph.step(row, memory)
        outputs.append(out)
    return np.stack(outputs), memory
