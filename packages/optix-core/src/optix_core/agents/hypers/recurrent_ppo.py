"""PPO with memory: what it declares (Schulman et al. 2017, arXiv:1707.06347)."""

from __future__ import annotations

from dataclasses import replace

from optix_core.agents.hypers import ppo
from optix_core.plugin import Hyper

_OTHER_DEFAULTS = {"n_epochs": 10, "minibatch_size": 256}

HYPERS: tuple[Hyper, ...] = (
    *(
        replace(hyper, default=_OTHER_DEFAULTS[hyper.name]) if hyper.name in _OTHER_DEFAULTS else hyper
        for hyper in ppo.HYPERS
    ),
    Hyper(
        "bptt_len",
        32,
        "int",
        low=0,
        help="most steps that gradients flow back through memory; 0: as far as the window goes",
    ),
)
"""PPO's, with other defaults where sequences ask for them; minibatches are made of whole sequences."""
