"""What several tests need: a quiet TensorFlow, models, agents and windows."""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported anywhere
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

sys.path.append(str(Path(__file__).parent))  # for the modules that several tests share

OBS = 3
SLOW_SECONDS = 3600


def pytest_collection_modifyitems(items):
    """Tests that train for minutes get an hour each."""
    for item in items:
        if item.get_closest_marker("slow") is not None and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SLOW_SECONDS))


def sequential(*sizes, activation="tanh", seed=0, dtype="float32"):
    """An ordinary user's network, with weights from a seed."""
    import keras
    import numpy as np

    rng = np.random.default_rng(seed)
    model = keras.Sequential([keras.Input((sizes[0],), dtype=dtype)])
    for i, (a, b) in enumerate(itertools.pairwise(sizes)):
        last = i == len(sizes) - 2
        layer = keras.layers.Dense(
            b, activation=None if last else activation, kernel_initializer="zeros", dtype=dtype
        )
        model.add(layer)
        layer.kernel.assign(rng.standard_normal((a, b)) / a**0.5)
        layer.bias.assign(0.1 * rng.standard_normal(b))
    return model


def random_window(agent, t=40, n=3, seed=0, *, ends=0.1, obs=OBS, **options):
    """A window of random observations in which ``agent`` acted; some steps end episodes, of both kinds."""
    import numpy as np

    from optix_core.types import EpisodeData

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
        **options,
    )


def built(kind="discrete", *, seed=0, hyperparams=None, device="cpu", **options):
    """The agent that ``make_agent`` would build, without normalisers unless they are asked for."""
    import numpy as np
    from gymnasium.spaces import Box, Discrete

    from optix_core.plugin import AgentContext
    from optix_tf import gaussian_ppo, ppo

    options = {"normalize_observations": False, "normalize_rewards": False, "hidden_sizes": (8, 8), **options}
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


@pytest.fixture(scope="session")
def make():
    """``make.window``, ``make.built``, ``make.sequential``."""
    return SimpleNamespace(window=random_window, built=built, sequential=sequential)
