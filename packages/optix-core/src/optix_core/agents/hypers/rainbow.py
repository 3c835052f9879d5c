"""Rainbow: what it declares (Hessel et al. 2018, arXiv:1710.02298)."""

from __future__ import annotations

from dataclasses import replace

from optix_core.agents.hypers.dqn import OBSERVATION_SPACES as OBSERVATION_SPACES
from optix_core.agents.hypers.dqn import OPTIONS as OPTIONS
from optix_core.agents.hypers.dqn import REPLAY_HYPERS
from optix_core.plugin import Hyper

_DEFAULTS = {"batch_size": 32, "target_update_freq": 100}

HYPERS: tuple[Hyper, ...] = (
    Hyper(
        "learning_rate",
        1e-3,
        low=0.0,
        low_open=True,
        high=1.0,
        tune=(1e-4, 3e-3),
        log=True,
        help="Adam's step size",
    ),
    *(
        replace(hyper, default=_DEFAULTS[hyper.name]) if hyper.name in _DEFAULTS else hyper
        for hyper in REPLAY_HYPERS
    ),
    Hyper("n_step", 3, "int", low=1, help="rewards summed before the value of what follows is used"),
    Hyper("per_alpha", 0.5, low=0.0, high=1.0, help="exponent of priorities; 0: all are drawn alike"),
    Hyper(
        "v_min",
        0.0,
        live=False,
        help="lowest return that the distribution knows; v_min = v_max: chosen from returns seen in warm-up",
    ),
    Hyper("v_max", 0.0, live=False, help="highest return that the distribution knows"),
    Hyper("n_atoms", 51, "int", low=2, live=False, help="points of the distribution of returns"),
)
"""Defaults, valid intervals and tuning ranges; this is the only place where they are written."""
