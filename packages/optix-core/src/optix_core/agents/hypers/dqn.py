"""Deep Q-learning: what it declares (Mnih et al. 2015, doi:10.1038/nature14236)."""

from __future__ import annotations

from optix_core.agents.hypers import hindsight
from optix_core.agents.hypers.spaces import OBSERVATION_SPACES as OBSERVATION_SPACES
from optix_core.plugin import Hyper, Option

REPLAY_HYPERS: tuple[Hyper, ...] = (
    Hyper(
        "gamma",
        0.99,
        low=0.0,
        high=1.0,
        tune=(0.95, 0.999),
        log="complement",
        help="discount per step",
    ),
    Hyper("batch_size", 128, "int", low=1, help="transitions per gradient step"),
    Hyper("replay_capacity", 100_000, "int", low=1, live=False, help="environment steps kept"),
    Hyper(
        "learning_starts",
        1000,
        "int",
        low=0,
        help="environment steps with random actions before the first gradient step",
    ),
    Hyper("train_freq", 1, "int", low=1, help="environment steps between rounds of gradient steps"),
    Hyper("gradient_steps", 1, "int", low=-1, help="gradient steps per round; -1: as many as train_freq"),
    Hyper(
        "target_update_freq",
        250,
        "int",
        low=1,
        help="environment steps between updates of the target network",
    ),
    Hyper(
        "tau",
        1.0,
        low=0.0,
        low_open=True,
        high=1.0,
        help="share of the way that the target network goes at an update; 1: it is copied",
    ),
    Hyper("max_grad_norm", 10.0, low=0.0, low_open=True, help="the gradient is clipped to this norm"),
    Hyper(
        "per_beta",
        0.4,
        low=0.0,
        high=1.0,
        help="importance-sampling exponent at the start; annealed linearly to 1",
    ),
    Hyper("per_beta_steps", 100_000, "int", low=1, help="environment steps over which per_beta becomes 1"),
)
"""What all agents with replay and a target network for discrete actions have, with DQN's defaults."""


HYPERS: tuple[Hyper, ...] = (
    Hyper(
        "learning_rate",
        2.5e-4,
        low=0.0,
        low_open=True,
        high=1.0,
        tune=(1e-4, 3e-3),
        log=True,
        help="Adam's step size",
    ),
    *REPLAY_HYPERS,
    Hyper("n_step", 3, "int", low=1, help="rewards summed before the value of what follows is used"),
    Hyper("double", True, "bool", help="the online network chooses the action whose target value counts"),
    Hyper("epsilon", 1.0, low=0.0, high=1.0, help="share of random actions at the start"),
    Hyper("epsilon_min", 0.05, low=0.0, high=1.0, explores=1, help="share of random actions in the long run"),
    Hyper(
        "epsilon_decay_steps",
        10_000,
        "int",
        low=1,
        help="environment steps over which epsilon falls linearly to epsilon_min",
    ),
    Hyper(
        "per_alpha",
        0.0,
        low=0.0,
        high=1.0,
        live=False,
        help="exponent of priorities; 0: replay is drawn from uniformly",
    ),
)
"""Defaults, valid intervals and tuning ranges; this is the only place where they are written.

Every update of the target network carries rewards ``n_step`` steps further back, so how far returns reach within a
budget is the number of updates times ``n_step``. On CartPole-v1 (50,000 steps, greedy returns) one step and an update
every 500 stayed below 150 on all of three seeds; one step and an update every 100 reached 500 on four of five, with
values above what is possible on the fifth; three steps and an update every 250 are right on that one, too.
"""

OPTIONS: tuple[Option, ...] = (
    Option(
        "hidden_sizes", None, help="widths of the hidden layers; None: (128, 128), or none behind an image"
    ),
    Option("activation", "relu", help="tanh, relu, elu or sigmoid"),
    Option("encoder", None, help="reads observations: a module, a function or its name, or flatten"),
    Option("normalize_observations", False, help="standardise observations with running statistics"),
    *hindsight.OPTIONS,
)

DUELING = Option("dueling", False, help="a value and advantages instead of action values in the last layer")
