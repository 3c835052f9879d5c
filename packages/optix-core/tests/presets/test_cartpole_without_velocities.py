"""The environment of core's own."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from optix_core.envs import CARTPOLE_WITHOUT_VELOCITIES as NAME
from optix_core.envs import register
from optix_core.plugins.envs import make_env, read_spaces


def test_it_is_cartpole_without_two_numbers():
    ours, theirs = make_env(NAME), gym.make("CartPole-v1")
    ours.action_space.seed(0)
    seen, full = ours.reset(seed=3)[0], theirs.reset(seed=3)[0]
    assert seen.shape == (2,)
    assert seen.dtype == np.float32
    over = False
    while not over:
        np.testing.assert_array_equal(seen, full[[0, 2]])
        action = ours.action_space.sample()
        seen, *rest = ours.step(action)
        full, *expected = theirs.step(action)
        assert rest == expected
        over = rest[1] or rest[2]
    assert ours.observation_space.contains(seen)
    np.testing.assert_array_equal(ours.observation_space.high, theirs.observation_space.high[[0, 2]])


def test_it_ends_after_500_steps():
    env = make_env(NAME)
    assert env.spec.max_episode_steps == 500
    assert env.spec.reward_threshold == 475.0


def test_it_is_found_by_its_id_everywhere_and_made_again_from_its_spec():
    register()
    register()
    assert gym.make(gym.make(NAME).spec).observation_space.shape == (2,)
    assert read_spaces(NAME).observation_space.shape == (2,)
    with pytest.raises(LookupError, match="CartPoleNoVel-v0"):
        make_env("optix/CartPoleNoVel-v9")


def test_arguments_reach_cartpole():
    env = make_env(NAME, sutton_barto_reward=True)
    env.reset(seed=0)
    assert env.step(0)[1] == 0.0


def test_checks_of_gymnasium_pass():
    from gymnasium.utils.env_checker import check_env

    check_env(make_env(NAME).unwrapped, skip_render_check=True)
