"""REINFORCE and A2C, for a user's own model: what they declare (Williams 1992)."""

from __future__ import annotations

from optix_core.plugin import Hyper

HYPERS: tuple[Hyper, ...] = (
    Hyper(
        "learning_rate",
        1e-3,
        low=0.0,
        low_open=True,
        high=1.0,
        tune=(1e-4, 1e-2),
        log=True,
        help="the optimizer's step size",
    ),
    Hyper(
        "gamma",
        0.99,
        low=0.0,
        high=1.0,
        tune=(0.95, 0.999),
        log="complement",
        help="discount per step",
    ),
    Hyper("vf_coef", 0.5, low=0.0, help="weight of the value loss, for models that return values"),
    Hyper("entropy_coef", 0.0, low=0.0, explores=1, help="weight of the entropy bonus"),
    Hyper("max_grad_norm", 0.5, low=0.0, low_open=True, help="the gradient is clipped to this norm"),
)
"""Defaults, valid intervals and tuning ranges."""
