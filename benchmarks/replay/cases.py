"""What every side stores and how it is timed; numpy and standard library only."""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from common import peak_memory_mib

OBS, ACT, BATCH = 17, 6, 256
ROWS, IMAGES = 400_000, 20_000
PRIORITISED = (10_000, 1_000_000)


def best_us(call, *, repeats=7, calls=100):
    """CPU microseconds of one call: the best of several runs of ``calls``."""
    best = np.inf
    for _ in range(repeats):
        start = time.process_time()
        for _ in range(calls):
            call()
        best = min(best, (time.process_time() - start) / calls)
    return best * 1e6


def transitions(n, seed=0):
    """``n`` transitions of one continuing environment: ``(obs, action, reward, next_obs)``, all float32."""
    rng = np.random.default_rng(seed)
    seen = rng.standard_normal((1001, OBS)).astype(np.float32)
    acted = rng.standard_normal((1000, ACT)).astype(np.float32)
    for i in range(n):
        at = i % 1000
        yield seen[at], acted[at], float(at), seen[at + 1]


def growth_mib(fill):
    """MiB by which ``fill()`` raised the largest resident set; and what it returned."""
    before = peak_memory_mib()
    made = fill()
    return peak_memory_mib() - before, made
