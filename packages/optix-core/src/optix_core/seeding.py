"""Where every random stream of a run comes from: one root seed and a tree with fixed names.

``SeedSequence(root, spawn_key=(domain, index, ...))`` gives each use a stream of its own that depends on neither the
order of calls nor on what other parts draw. Evaluation has its own domain, so adding an
evaluation or an observer does not change a single bit of training.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Domain(IntEnum):
    """Fixed names of the random streams; numbers are stored in no file but define the streams, so they never change."""

    ENV = 1
    ACTION_SPACE = 2
    POLICY = 3
    INIT = 4
    MINIBATCH = 5
    REPLAY = 6
    TUNER = 7
    TOPOLOGY = 8
    VALIDATION = 9
    CONFIRMATION = 10
    TRIAL = 11
    PERTURBATION = 12
    POPULATION = 13
    LIVE = 20
    NOVELTY = 21


def seed_sequence(root: int, domain: Domain, *index: int) -> np.random.SeedSequence:
    """The seed sequence of one use, for example ``(root, Domain.ENV, env_index, episode_index)``."""
    return np.random.SeedSequence(root, spawn_key=(int(domain), *index))


def generator(root: int, domain: Domain, *index: int) -> np.random.Generator:
    """A fresh PCG64 generator for one use."""
    return np.random.Generator(np.random.PCG64(seed_sequence(root, domain, *index)))


def derive_seed(root: int, domain: Domain, *index: int) -> int:
    """A 31-bit integer seed for one use, for APIs that take an int such as ``env.reset(seed=...)``."""
    return int(seed_sequence(root, domain, *index).generate_state(1, np.uint32)[0]) & 0x7FFF_FFFF


def fresh_root_seed() -> int:
    """A root seed from the operating system's entropy, for runs where the user gave none."""
    return int(np.random.SeedSequence().generate_state(1, np.uint32)[0]) & 0x7FFF_FFFF
