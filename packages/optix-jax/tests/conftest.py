"""What several tests need: agents and windows."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from optix_core.plugin import AgentContext
from optix_core.types import EpisodeData
from optix_jax import gaussian_ppo, ppo

sys.path.append(str(Path(__file__).parent))  # for the modules that several tests share

SLOW_SECONDS = 3600
OBS = 3


def pytest_collection_modifyitems(items):
    """Tests that train for minutes get an hour each."""
    for item in items:
        if item.get_closest_marker("slow") is not None and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SLOW_SECONDS))


def random_window(agent, t=40, n=3, seed=0, *, ends=0.1, obs=OBS):
    """A window of random observations in which ``agent`` acted; some steps end episodes, of both kinds."""
    rng = np.random.default_rng(seed)
    observations = rng.standard_normal((t, n, obs)).astype(np.float32)
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
        final_obs=rng.standard_normal((n, obs)).astype(np.float32),
        n_envs=n,
        boundary_steps=boundary,
        boundary_observations=rng.standard_normal((len(boundary), obs)).astype(np.float32),
        timestamp=0.0,
    )


def built(kind="discrete", *, seed=0, hyperparams=None, action_space=None, observation_space=None, **options):
    """The agent that ``make_agent`` would build, without normalisers unless they are asked for."""
    options = {"normalize_observations": False, "normalize_rewards": False, **options}
    if action_space is None:
        low, high = np.array([-2.0, 0.0], np.float32), np.array([2.0, 5.0], np.float32)
        action_space = Discrete(4) if kind == "discrete" else Box(low, high)
    ctx = AgentContext(
        observation_space=Box(-10, 10, (OBS,)) if observation_space is None else observation_space,
        action_space=action_space,
        seed=seed,
        device="cpu",
        hyperparams=dict(hyperparams or {}),
    )
    return (ppo if kind == "discrete" else gaussian_ppo).build(ctx, **options)


@pytest.fixture(scope="session")
def make():
    """``make.window`` and ``make.built``."""
    return SimpleNamespace(window=random_window, built=built, OBS=OBS)
