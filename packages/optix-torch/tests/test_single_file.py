"""The one-page PPO and the agent are the same algorithm, to the last bit."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from optix_core import VectorBatchPipeline, make_agent

PAGE = Path(__file__).resolve().parents[3] / "examples" / "single_file" / "ppo.py"


def page():
    if not PAGE.exists():
        pytest.skip("the examples are part of the repository, not of this distribution")
    spec = importlib.util.spec_from_file_location("single_file_ppo", PAGE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_env():
    return gym.make("CartPole-v1", max_episode_steps=30)  # so that episodes end in both ways


def by_agent(n_envs, **hyperparams):
    agent = make_agent(
        "optix-torch:PPO", make_env(), seed=3, device="cpu", engine="autograd", hyperparams=hyperparams
    )
    pipeline = VectorBatchPipeline([make_env] * n_envs, agent, 96, seed=3)
    pipeline.setup()
    windows = pipeline.episodes()
    ends = np.zeros(2, int)
    for _ in range(4):
        window = next(windows)
        ends += window.terminated.sum(), window.truncated.sum()
        agent.learn(window)
    pipeline.teardown()
    assert ends.min() > 0
    return agent._networks.flat.to_numpy()


@pytest.mark.parametrize("n_envs", [1, 3])
def test_the_page_ends_with_the_parameters_of_the_agent(n_envs):
    ours = page().train(make_env, seed=3, n_windows=4, n_envs=n_envs, n_steps=96)
    np.testing.assert_array_equal(ours, by_agent(n_envs))


def test_the_comparison_can_fail():
    ours = page().train(make_env, seed=3, n_windows=4, n_envs=1, n_steps=96)
    assert not np.array_equal(ours, by_agent(1, gae_lambda=0.94))
