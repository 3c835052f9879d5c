"""What the off-policy algorithms for continuous actions declare alike."""

from __future__ import annotations

from optix_core.agents.hypers import hindsight
from optix_core.agents.hypers.spaces import OBSERVATION_SPACES as OBSERVATION_SPACES
from optix_core.plugin import Hyper, Option


def learning_rate(default: float) -> Hyper:
    """The declaration with one algorithm's default."""
    return Hyper(
        "learning_rate",
        default,
        low=0.0,
        low_open=True,
        high=1.0,
        tune=(1e-4, 1e-3),
        log=True,
        help="Adam's step size, for all networks",
    )


REPLAY_HYPERS: tuple[Hyper, ...] = (
    Hyper(
        "gamma",
        0.99,
        low=0.0,
        high=1.0,
        tune=(0.97, 0.999),
        log="complement",
        help="discount per step",
    ),
    Hyper(
        "tau",
        0.005,
        low=0.0,
        low_open=True,
        high=1.0,
        tune=(1e-3, 1e-1),
        log=True,
        help="share of the way that target networks go at an update; 1: they are copied",
    ),
    Hyper("batch_size", 256, "int", low=1, help="transitions per gradient step"),
    Hyper("replay_capacity", 1_000_000, "int", low=1, live=False, help="environment steps kept"),
    Hyper(
        "learning_starts",
        100,
        "int",
        low=0,
        help="environment steps with random actions before the first gradient step",
    ),
    Hyper("train_freq", 1, "int", low=1, help="environment steps between rounds of gradient steps"),
    Hyper("gradient_steps", 1, "int", low=-1, help="gradient steps per round; -1: as many as train_freq"),
    Hyper("n_step", 1, "int", low=1, help="rewards summed before the value of what follows is used"),
    Hyper(
        "per_alpha",
        0.0,
        low=0.0,
        high=1.0,
        live=False,
        help="exponent of priorities; 0: replay is drawn from uniformly",
    ),
    Hyper("per_beta", 0.4, low=0.0, high=1.0, help="importance-sampling exponent of prioritised replay"),
    Hyper(
        "max_grad_norm",
        0.0,
        low=0.0,
        help="the gradients of actor and of critics are clipped to this norm; 0: no limit",
    ),
)
"""Defaults, valid intervals and tuning ranges of what SAC and TD3 have in common."""

OPTIONS: tuple[Option, ...] = (
    Option("hidden_sizes", (256, 256), help="widths of the hidden layers of actor and critics"),
    Option("activation", "relu", help="tanh, relu, elu or sigmoid"),
    Option("encoder", None, help="reads observations: a module, a function or its name, or flatten"),
    Option("normalize_observations", False, help="standardise observations with running statistics"),
    *hindsight.OPTIONS,
)
