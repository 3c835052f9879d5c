"""The side of tensor-optix; prints one JSON line of figures. Run by run.py in an environment of its own."""

from __future__ import annotations

import json

import numpy as np
from cases import BATCH, PRIORITISED, ROWS, best_us, growth_mib, transitions
from common import machine, versions
from tensor_optix.core.replay_buffer import PrioritizedReplayBuffer


def fill(buffer, n):
    for seen, acted, reward, after in transitions(n):
        buffer.push(seen, acted, reward, after, False)
    return buffer


def prioritised(n):
    """Filled from outside: leaves and their sums at once. What is timed afterwards is its own code."""
    rng = np.random.default_rng(0)
    buffer = PrioritizedReplayBuffer(n, alpha=0.6)
    buffer._ensure_tree()
    tree = buffer._tree
    tree._data[:] = [(s.copy(), a, r, s2.copy(), 0.0, 1) for s, a, r, s2 in transitions(n)]
    tree._size = n
    tree._tree[n:] = (rng.exponential(size=n) + 1e-6) ** 0.6
    for i in range(n - 1, 0, -1):
        tree._tree[i] = tree._tree[2 * i] + tree._tree[2 * i + 1]
    return buffer


def cycle(n):
    buffer = prioritised(n)
    transition = next(transitions(1))
    errors = np.random.default_rng(0).exponential(size=BATCH)

    def once():
        buffer.push(*transition, False)
        buffer.update_priorities(buffer.sample(BATCH)[6], errors)

    return best_us(once, repeats=5, calls=20)


def main():
    rows_mib, buffer = growth_mib(lambda: fill(PrioritizedReplayBuffer(ROWS), ROWS))
    figures = {
        "rows_mib": rows_mib,
        "sample_us": best_us(lambda: buffer.sample(BATCH), repeats=5, calls=20),
        "add_us": best_us(lambda: fill(buffer, 1_000), calls=3) / 1_000,
    }
    del buffer
    for n in PRIORITISED:
        figures[f"cycle_{n}_us"] = cycle(n)
    return figures


if __name__ == "__main__":
    print(json.dumps({**main(), "machine": machine(), "versions": versions()}))
