"""The goal grid is as hard, and as easy, as it says."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from optix_core.testing import GoalGrid


def run(env, policy, episodes):
    returns, reached, distances = [], [], []
    for episode in range(episodes):
        seen, _ = env.reset(seed=episode)
        apart = np.abs(seen["desired_goal"] - seen["achieved_goal"]).sum() * (env.size - 1) / 2
        distances.append(round(float(apart)))
        total, over, info = 0.0, False, {}
        while not over:
            seen, reward, terminated, truncated, info = env.step(policy(seen))
            assert not (terminated and truncated)
            total, over = total + reward, terminated or truncated
        returns.append(total)
        reached.append(info["is_success"])
    return returns, reached, distances


def straight(seen):
    dx, dy = seen["desired_goal"] - seen["observation"]
    return (2 if dx > 0 else 3) if abs(dx) > 1e-3 else (0 if dy > 0 else 1)


def test_it_is_a_proper_environment():
    check_env(GoalGrid(), skip_render_check=True)


def test_walking_straight_earns_what_is_said():
    returns, reached, distances = run(GoalGrid(), straight, 100)
    assert all(reached)
    assert returns == [1 - d for d in distances]
    assert min(distances) >= 14


def test_walking_at_random_hardly_ever_arrives():
    rng = np.random.default_rng(0)
    returns, reached, _ = run(GoalGrid(), lambda _: rng.integers(4), 1000)
    assert np.mean(reached) < 0.01
    assert np.mean(returns) == pytest.approx(-30, abs=0.1)


def test_goals_are_judged_in_batches_as_one_by_one():
    env, rng = GoalGrid(5), np.random.default_rng(0)
    a, b = (rng.integers(5, size=(2, 200, 2)) / 2 - 1).astype(np.float32)
    same = (a == b).all(axis=1)
    assert 0 < same.sum() < 200
    assert (env.compute_terminated(a, b, {}) == same).all()
    assert (env.compute_reward(a, b, {}) == np.where(same, 0.0, -1.0)).all()
    assert all(env.compute_reward(x, y, {}) == -1.0 + s for x, y, s in zip(a, b, same, strict=True))
