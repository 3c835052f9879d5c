"""Are the tiny environments what they say: members of their spaces, seeded, and worth what is promised?"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from optix_core.testing import ConstantReward, SpaceProbe, StayOrLeave, TinyBox, TinyDiscrete, TinyMasked

MAKERS: list[Callable[[], gym.Env]] = [
    TinyDiscrete,
    lambda: TinyDiscrete(truncate=True),
    TinyBox,
    TinyMasked,
    ConstantReward,
    lambda: SpaceProbe(gym.spaces.Box(-1, 1, (3,)), gym.spaces.MultiDiscrete([2, 3])),
]


@pytest.mark.parametrize("make", MAKERS)
def test_gymnasium_accepts_it(make: Callable[[], gym.Env]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice about registration and normalised spaces
        check_env(make(), skip_render_check=True)


def mean_return(env: gym.Env, policy: Callable[[Any, dict], Any], episodes: int = 400) -> float:
    total = 0.0
    for episode in range(episodes):
        observation, info = env.reset(seed=episode)
        over = False
        while not over:
            observation, reward, terminated, truncated, info = env.step(policy(observation, info))
            total, over = total + float(reward), terminated or truncated
    return total / episodes


@pytest.mark.parametrize(
    "env, best",
    [
        (TinyDiscrete(), lambda o, i: np.int64(o.argmax())),
        (TinyBox(), lambda o, i: np.array([TinyBox.targets[int(o.argmax())]], np.float32)),
        (TinyMasked(), lambda o, i: np.flatnonzero(i["action_mask"])[-1]),
    ],
)
def test_random_and_best_returns_are_as_stated(env: Any, best: Callable) -> None:
    env.action_space.seed(0)
    assert mean_return(env, lambda o, i: env.action_space.sample()) == pytest.approx(
        env.random_return, abs=0.4
    )
    assert mean_return(env, best, 20) == pytest.approx(env.best_return, abs=1e-5)


def test_one_seed_one_course() -> None:
    def course(seed: int) -> list[list[float]]:
        env = TinyDiscrete()
        first, _ = env.reset(seed=seed)
        return [first.tolist(), *(env.step(np.int64(0))[0].tolist() for _ in range(8))]

    assert course(1) == course(1)
    assert course(1) != course(2)


def test_ends_are_of_the_announced_kind() -> None:
    for truncate in (False, True):
        env = TinyDiscrete(3, truncate=truncate)
        env.reset(seed=0)
        ends = [env.step(np.int64(0))[2:4] for _ in range(3)]
        assert ends == [(False, False), (False, False), (not truncate, truncate)]


def test_constant_reward_never_terminates_and_has_the_value_of_a_geometric_series() -> None:
    env = ConstantReward(4)
    env.reset(seed=0)
    steps = [env.step(np.int64(0)) for _ in range(4)]
    assert [s[2] for s in steps] == [False] * 4
    assert [s[3] for s in steps] == [False, False, False, True]
    assert ConstantReward.value(0.9) == pytest.approx(sum(0.9**k for k in range(2000)))


def test_staying_is_better_only_with_a_bootstrap() -> None:
    env, gamma = StayOrLeave(), 0.9
    stay, leave = env.step(1), env.step(0)
    assert (stay[1:4], leave[1:4]) == ((0.9, False, True), (1.0, True, False))
    value = 0.9 / (1 - gamma)  # of staying for ever, the larger fixed point
    assert stay[1] + gamma * value > leave[1] > stay[1]


def test_actions_outside_are_errors() -> None:
    box, probe = TinyBox(), SpaceProbe(gym.spaces.Box(-1, 1, (2,)), gym.spaces.Discrete(2))
    box.reset(seed=0)
    probe.reset(seed=0)
    with pytest.raises(ValueError, match="not in"):
        box.step(np.array([1.5], np.float32))
    with pytest.raises(ValueError, match="not in"):
        probe.step(2)
