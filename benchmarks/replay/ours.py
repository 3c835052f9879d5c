"""The side of optix-core; prints one JSON line of figures. Run by run.py."""

from __future__ import annotations

import json
import time

import numpy as np
import torch
from cases import BATCH, IMAGES, PRIORITISED, ROWS, best_us, growth_mib, transitions
from common import machine, versions

from optix_core.replay import PrioritizedReplay, ReplayBuffer

NO, END = np.zeros(1, np.bool_), np.ones(1, np.bool_)


def fill(buffer, n):
    """Episodes of 1,000 steps, cut by a time limit."""
    for i, (seen, acted, reward, after) in enumerate(transitions(n)):
        over = END if i % 1000 == 999 else NO
        buffer.add(seen[None], acted[None], (reward,), after[None], NO, over)
    return buffer


def images():
    buffer = ReplayBuffer(IMAGES)
    frame = np.ones((1, 1, 84, 84), np.uint8)
    for _ in range(IMAGES):
        buffer.add(frame, [0], [0.0], frame, NO, NO)
    return buffer


def cycle(n):
    """Push, draw by priority, update; microseconds."""
    rng = np.random.default_rng(0)
    buffer = fill(PrioritizedReplay(n, alpha=0.6), n)
    for low in range(0, n, 10_000):
        buffer.update_priorities(np.arange(low, low + 10_000), rng.exponential(size=10_000))
    seen, acted, reward, after = next(transitions(1))
    errors = rng.exponential(size=BATCH)

    def once():
        buffer.add(seen[None], acted[None], (reward,), after[None], NO, NO)
        buffer.update_priorities(buffer.sample(BATCH, rng).indices, errors)

    return best_us(once), buffer


def state(buffer):
    """Milliseconds for the state of a full buffer after one segment changed, and for loading it back."""
    kept = buffer.state_dict()
    fill(buffer, 1_000)
    start = time.process_time()
    new = buffer.state_dict()
    made = time.process_time() - start
    assert (
        sum(a is b for a, b in zip(kept["segments"], new["segments"], strict=True))
        >= len(kept["segments"]) - 2
    )
    start = time.process_time()
    buffer.load_state_dict(new)
    return made * 1e3, (time.process_time() - start) * 1e3


def main():
    rng = np.random.default_rng(0)
    rows_mib, buffer = growth_mib(lambda: fill(ReplayBuffer(ROWS), ROWS))

    def tensors():
        batch = buffer.sample(BATCH, rng)
        parts = (batch.observations, batch.actions, batch.rewards, batch.next_observations, batch.discounts)
        return [torch.from_numpy(x) for x in parts]

    figures = {
        "rows_mib": rows_mib,
        "sample_us": best_us(lambda: buffer.sample(BATCH, rng)),
        "sample_tensors_us": best_us(tensors),
        "sample_3_steps_us": best_us(lambda: buffer.sample(BATCH, rng, n_step=3)),
        "add_us": best_us(lambda: fill(buffer, 1_000), calls=3) / 1_000,
    }
    del buffer
    figures["images_mib"], _ = growth_mib(images)
    for n in PRIORITISED:
        figures[f"cycle_{n}_us"], prioritised = cycle(n)
    figures["state_ms"], figures["load_ms"] = state(prioritised)
    return figures


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps({**main(), "machine": machine(), "versions": versions()}))
