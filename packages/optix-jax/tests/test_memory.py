"""Nothing of a window stays behind: no arrays on the device, and no growing memory on the host."""

from __future__ import annotations

import gc
import tracemalloc

import jax
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from optix_core import make_agent
from optix_core.types import EpisodeData

WARM, WINDOWS, STEPS = 12, 40, 8
REPLAY = {"replay_capacity": 64, "learning_starts": 8, "batch_size": 8, "gradient_steps": 1, "train_freq": 4}
AGENTS = {
    "PPO": {"n_epochs": 2, "minibatch_size": 4},
    "GaussianPPO": {"n_epochs": 2, "minibatch_size": 4},
    "DQN": REPLAY,
    "SAC": REPLAY,
    "TD3": REPLAY,
}


class Env:
    """Spaces are all that making an agent needs."""

    observation_space = Box(-1, 1, (3,))

    def __init__(self, name):
        self.action_space = Discrete(3) if name in {"PPO", "DQN"} else Box(-1, 1, (2,))


def windows_of(agent, n):
    """Windows in which the agent acts."""
    rng = np.random.default_rng(0)
    for _ in range(n):
        rows = rng.standard_normal((STEPS, 3)).astype(np.float32)
        yield EpisodeData(
            observations=rows,
            actions=agent.act_batch(rows),
            rewards=rng.standard_normal(STEPS),
            terminated=np.zeros(STEPS, bool),
            truncated=np.zeros(STEPS, bool),
            final_obs=rows[0],
            timestamp=0.0,
        )


def held():
    gc.collect()
    return len(jax.live_arrays()), sum(array.nbytes for array in jax.live_arrays())


@pytest.mark.parametrize("name", AGENTS)
def test_windows_leave_nothing_behind(name):
    agent = make_agent(
        f"optix-jax:{name}", Env(name), seed=0, device="cpu", hidden_sizes=(8,), hyperparams=AGENTS[name]
    )
    n_updates = sum(agent.learn(window).get("n_updates", 0) for window in windows_of(agent, WARM))
    assert n_updates > 0  # otherwise there would be nothing to see
    before = held()
    tracemalloc.start()
    try:
        for window in windows_of(agent, WARM):
            agent.learn(window)
        gc.collect()
        start = tracemalloc.get_traced_memory()[0]
        for window in windows_of(agent, WINDOWS):
            agent.learn(window)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - start
    finally:
        tracemalloc.stop()
    assert held() == before
    assert grown < 512 * WINDOWS  # a window that is kept takes twice as much


def test_the_count_notices_an_array_that_is_kept():
    before = held()
    kept = jax.numpy.ones(3)
    assert held()[0] == before[0] + 1
    del kept
    assert held() == before
