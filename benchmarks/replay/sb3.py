"""The side of Stable-Baselines3; prints one JSON line of figures. Run by run.py in an environment of its own."""

from __future__ import annotations

import json

import numpy as np
import torch
from cases import ACT, BATCH, IMAGES, OBS, ROWS, best_us, growth_mib, transitions
from common import machine, versions
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer

OVER, INFO = np.zeros(1), [{}]


def fill(buffer, n):
    for seen, acted, reward, after in transitions(n):
        buffer.add(seen[None], after[None], acted[None], np.asarray([reward]), OVER, INFO)
    return buffer


def rows():
    box = spaces.Box(-np.inf, np.inf, (OBS,), np.float32)
    return fill(ReplayBuffer(ROWS, box, spaces.Box(-1, 1, (ACT,), np.float32), device="cpu"), ROWS)


def images():
    buffer = ReplayBuffer(IMAGES, spaces.Box(0, 255, (1, 84, 84), np.uint8), spaces.Discrete(4), device="cpu")
    frame = np.ones((1, 1, 84, 84), np.uint8)
    for _ in range(IMAGES):
        buffer.add(frame, frame, np.zeros(1, np.int64), np.zeros(1), OVER, INFO)
    return buffer


def main():
    rows_mib, buffer = growth_mib(rows)
    figures = {
        "rows_mib": rows_mib,
        "sample_tensors_us": best_us(lambda: buffer.sample(BATCH)),
        "add_us": best_us(lambda: fill(buffer, 1_000), calls=3) / 1_000,
    }
    del buffer
    figures["images_mib"], _ = growth_mib(images)
    return figures


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps({**main(), "machine": machine(), "versions": versions()}))
