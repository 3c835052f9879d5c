"""Soft actor-critic: what it declares (Haarnoja et al. 2018, arXiv:1812.05905)."""

from __future__ import annotations

from optix_core.agents.hypers.continuous import OBSERVATION_SPACES as OBSERVATION_SPACES
from optix_core.agents.hypers.continuous import OPTIONS as OPTIONS
from optix_core.agents.hypers.continuous import REPLAY_HYPERS, learning_rate
from optix_core.plugin import Hyper

HYPERS: tuple[Hyper, ...] = (
    learning_rate(3e-4),
    *REPLAY_HYPERS,
    Hyper(
        "target_entropy_per_dim",
        -1.0,
        explores=1,
        help="the entropy that the temperature aims at, in nats per action dimension",
    ),
    Hyper(
        "alpha",
        0.0,
        low=0.0,
        help="temperature, in units of reward per nat; 0: adapted to the target entropy",
    ),
    Hyper(
        "log_alpha_init",
        0.0,
        live=False,
        help="logarithm of the temperature at the start, where it is adapted",
    ),
)
"""Defaults, valid intervals and tuning ranges; this is the only place where they are written."""
