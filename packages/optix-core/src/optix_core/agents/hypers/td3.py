"""Twin delayed deep deterministic policy gradient: what it declares (Fujimoto et al. 2018, arXiv:1802.09477)."""

from __future__ import annotations

from optix_core.agents.hypers.continuous import OBSERVATION_SPACES as OBSERVATION_SPACES
from optix_core.agents.hypers.continuous import OPTIONS as OPTIONS
from optix_core.agents.hypers.continuous import REPLAY_HYPERS, learning_rate
from optix_core.plugin import Hyper

HYPERS: tuple[Hyper, ...] = (
    learning_rate(1e-3),
    *REPLAY_HYPERS,
    Hyper(
        "exploration_noise",
        0.1,
        low=0.0,
        explores=1,
        help="standard deviation of the noise on actions while collecting, in units of [-1, 1]",
    ),
    Hyper("policy_delay", 2, "int", low=1, help="gradient steps of the critics per update of all else"),
    Hyper("target_noise", 0.2, low=0.0, help="standard deviation of the noise on actions in targets"),
    Hyper("target_noise_clip", 0.5, low=0.0, help="that noise is clipped to plus or minus this"),
)
"""Defaults, valid intervals and tuning ranges; this is the only place where they are written."""
