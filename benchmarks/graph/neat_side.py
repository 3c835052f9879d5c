"""The side of neat-python; prints one JSON line of figures. Run by run.py in an environment of its own.

Its recurrent network reads every link one step late, which costs the same as reading some of them at once.
"""

from __future__ import annotations

import importlib.metadata
import json

import numpy as np
from cases import SIZES, best_us, edges, names
from common import machine, versions
from neat.activations import identity_activation, tanh_activation
from neat.nn import RecurrentNetwork


def build(size):
    inputs, hidden, outputs = names(size)
    links = {name: [] for name in hidden + outputs}
    for src, dst, weight, _ in edges(size):
        links[dst].append((src, weight))
    nodes = [
        (name, identity_activation if name in outputs else tanh_activation, sum, 0.0, 1.0, links[name])
        for name in hidden + outputs
    ]
    return RecurrentNetwork(inputs, outputs, nodes)


def main():
    figures = {}
    for size, (n_in, _, _) in SIZES.items():
        network = build(size)
        observation = np.random.default_rng(0).normal(size=n_in).tolist()
        calls = 1000 if size == "4_8_3" else 50
        figures[f"act_{size}_us"] = best_us(lambda n=network, o=observation: n.activate(o), calls=calls)
    about = {**versions(), "neat-python": importlib.metadata.version("neat-python")}
    print(json.dumps({**figures, "versions": about, "machine": machine()}))


if __name__ == "__main__":
    main()
