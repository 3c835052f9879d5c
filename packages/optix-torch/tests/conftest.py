"""What several tests need: agents and windows."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from torch import nn

from optix_core.plugin import AgentContext
from optix_core.types import EpisodeData
from optix_torch import GaussianActor, TorchGaussianPPOAgent, TorchPPOAgent, gaussian_ppo, ppo

sys.path.append(str(Path(__file__).parent))  # for the modules that several tests share

SLOW_SECONDS = 3600


def pytest_collection_modifyitems(items):
    """Tests that train for minutes get an hour each."""
    for item in items:
        if item.get_closest_marker("slow") is not None and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SLOW_SECONDS))


OBS = 3
CASES = [("discrete", "closed_form"), ("discrete", "autograd"), ("box", "closed_form"), ("box", "autograd")]


def random_window(agent, t=40, n=3, seed=0, *, ends=0.1):
    """A window of random observations in which ``agent`` acted; some steps end episodes, of both kinds."""
    rng = np.random.default_rng(seed)
    observations = rng.standard_normal((t, n, OBS)).astype(np.float32)
    actions = np.stack([agent.act_batch(row) for row in observations])
    kind = rng.random((t, n))
    terminated, truncated = kind < ends / 2, (kind >= ends / 2) & (kind < ends)
    boundary = np.argwhere(terminated | truncated)
    return EpisodeData(
        observations=observations,
        actions=actions,
        rewards=rng.standard_normal((t, n)),
        terminated=terminated,
        truncated=truncated,
        final_obs=rng.standard_normal((n, OBS)).astype(np.float32),
        n_envs=n,
        boundary_steps=boundary,
        boundary_observations=rng.standard_normal((len(boundary), OBS)).astype(np.float32),
        timestamp=0.0,
    )


def built(kind="discrete", *, seed=0, hyperparams=None, device="cpu", **options):
    """The agent that ``make_agent`` would build, without normalisers unless they are asked for."""
    options = {"normalize_observations": False, "normalize_rewards": False, **options}
    space = (
        Discrete(4)
        if kind == "discrete"
        else Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 5.0], np.float32))
    )
    ctx = AgentContext(
        observation_space=Box(-10, 10, (OBS,)),
        action_space=space,
        seed=seed,
        device=device,
        hyperparams=dict(hyperparams or {}),
    )
    return (ppo if kind == "discrete" else gaussian_ppo).build(ctx, **options)


def sequential(*sizes, activation=nn.Tanh, seed=0, dtype=torch.float32):
    """An ordinary user's network, initialised without the global generator."""
    g = torch.Generator().manual_seed(seed)
    layers = []
    for a, b in itertools.pairwise(sizes):
        linear = nn.Linear(a, b, device="meta").to_empty(device="cpu")
        with torch.no_grad():
            linear.weight.copy_(torch.randn(b, a, generator=g) / a**0.5)
            linear.bias.copy_(torch.randn(b, generator=g) * 0.1)
        layers += [linear, activation()]
    return nn.Sequential(*layers[:-1]).to(dtype)


def by_hand(
    kind="discrete",
    *,
    activation=nn.Tanh,
    dtype=torch.float32,
    hyperparams=None,
    seed=0,
    engine="auto",
    lr=1e-2,
):
    """An agent from a user's own plain networks; gaussian2 takes its standard deviations from the network."""
    if kind == "discrete":
        actor = sequential(OBS, 16, 12, 4, activation=activation, dtype=dtype, seed=seed)
    elif kind == "gaussian":
        actor = GaussianActor(sequential(OBS, 16, 12, 2, activation=activation, seed=seed), 2, -0.3).to(dtype)
    else:
        actor = sequential(OBS, 16, 12, 4, activation=activation, dtype=dtype, seed=seed)
    critic = sequential(OBS, 10, 1, activation=activation, dtype=dtype, seed=seed + 1)
    optimizer = torch.optim.Adam([*actor.parameters(), *critic.parameters()], lr=lr, eps=1e-5)
    hp = {"minibatch_size": 32, "n_epochs": 3, **(hyperparams or {})}
    if kind == "discrete":
        return TorchPPOAgent(actor, critic, optimizer, hp, "cpu", engine=engine, seed=seed)
    return TorchGaussianPPOAgent(actor, critic, optimizer, 2, hp, "cpu", engine=engine, seed=seed)


@pytest.fixture(scope="session")
def make():
    """``make.window``, ``make.built``, ``make.by_hand``, ``make.sequential``."""
    return SimpleNamespace(
        window=random_window,
        random_window=random_window,
        built=built,
        by_hand=by_hand,
        sequential=sequential,
        CASES=CASES,
    )
