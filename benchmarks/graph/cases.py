"""The graphs that every side builds, edge by edge the same, and how they are timed; numpy and standard library only."""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

SIZES = {"4_8_3": (4, 8, 3), "16_64_8": (16, 64, 8), "32_256_8": (32, 256, 8)}
STEPS = 512
MANY = 64


def edges(size, seed=0):
    """(source, target, weight, delay): dense between layers, hidden neurons read themselves and a neighbour later."""
    n_in, n_hidden, n_out = SIZES[size]
    rng = np.random.default_rng(seed)
    hidden = [f"h{i}" for i in range(n_hidden)]
    found = [(f"i{i}", h, float(rng.normal() / np.sqrt(n_in)), 0) for h in hidden for i in range(n_in)]
    found += [(h, f"o{o}", float(rng.normal() / np.sqrt(n_hidden)), 0) for o in range(n_out) for h in hidden]
    for i, h in enumerate(hidden):
        found.append((h, h, 0.3, 1))
        found.append((hidden[i - 1], h, -0.2, 1))
    return found


def names(size):
    """Ids of inputs, hidden neurons and outputs."""
    return [[f"{kind}{i}" for i in range(n)] for kind, n in zip("iho", SIZES[size], strict=True)]


def best_us(call, *, repeats=5, calls=100):
    """CPU microseconds of one call: the best of several runs of ``calls``."""
    best = np.inf
    call()
    for _ in range(repeats):
        start = time.process_time()
        for _ in range(calls):
            call()
        best = min(best, (time.process_time() - start) / calls)
    return best * 1e6
