"""Do the agents learn? Seconds on tiny environments; CartPole and Pendulum are marked slow."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from optix_core import VectorBatchPipeline, make_agent
from optix_core.testing.tiny_envs import StayOrLeave, TinyBox, TinyDiscrete


def train(agent, make_env, *, windows, n_envs, steps, seed=0):
    pipeline = VectorBatchPipeline([make_env] * n_envs, agent, steps, seed=seed)
    pipeline.setup()
    episodes = pipeline.episodes()
    found = []
    for _ in range(windows):
        window = next(episodes)
        found.append(window)
        agent.learn(window)
    pipeline.teardown()
    return found


def greedy_returns(agent, make_env, n, first_seed=10_000):
    env, found = make_env(), []
    for i in range(n):
        observation, _ = env.reset(seed=first_seed + i)
        total, over = 0.0, False
        while not over:
            observation, reward, terminated, truncated, _ = env.step(
                agent.act(observation, deterministic=True)
            )
            total, over = total + float(reward), terminated or truncated
        found.append(total)
    env.close()
    return np.array(found)


@pytest.mark.parametrize("engine", ["closed_form", "autograd"])
@pytest.mark.parametrize("env", [TinyDiscrete, TinyBox])
def test_tiny_environments_in_seconds(env, engine):
    hp = {"learning_rate": 3e-3, "gamma": 0.5, "n_epochs": 6}
    agent = make_agent("optix-torch:PPO" if env is TinyDiscrete else "optix-torch:GaussianPPO", env(), seed=0,
                       device="cpu", hyperparams=hp, engine=engine, hidden_sizes=(16,))  # fmt: skip
    windows = train(agent, env, windows=25, n_envs=2, steps=128)
    first, last = windows[0].rewards.mean(), windows[-1].rewards.mean()
    assert last > first + 0.2
    assert last > 0.8 if env is TinyDiscrete else last > 0.6


@pytest.mark.parametrize("name,continuous", [("PPO", False), ("GaussianPPO", True)])
def test_a_time_limit_is_not_learned_as_an_end(name, continuous):
    """Staying pays 0.9 and is cut after one step, leaving pays 1.0 and ends: who takes the cut for an end, leaves."""
    env = StayOrLeave(continuous=continuous)
    hp = {"learning_rate": 5e-3, "gamma": 0.9}
    agent = make_agent(f"optix-torch:{name}", env, seed=0, device="cpu", hidden_sizes=(16,), hyperparams=hp)
    train(agent, lambda: StayOrLeave(continuous=continuous), windows=40, n_envs=1, steps=128)
    observation, _ = env.reset(seed=0)
    assert env.stays(agent.act(observation, deterministic=True))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_cartpole(seed):
    def make_env():
        return gym.make("CartPole-v1")

    agent = make_agent("optix-torch:PPO", make_env(), seed=seed, device="cpu")
    train(agent, make_env, windows=49, n_envs=8, steps=256, seed=seed)  # 100,000 steps
    assert greedy_returns(agent, make_env, 100).mean() >= 475


@pytest.mark.slow
def test_pendulum():
    def make_env():
        return gym.make("Pendulum-v1")

    hp = {"learning_rate": 1e-3, "gamma": 0.9, "entropy_coef": 0.0}
    agent = make_agent("PPO", make_env(), seed=0, device="cpu", hyperparams=hp)
    train(agent, make_env, windows=49, n_envs=4, steps=512)
    assert greedy_returns(agent, make_env, 50).mean() >= -250
