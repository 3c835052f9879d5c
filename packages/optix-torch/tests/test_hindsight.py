"""Hindsight replay through the public API: it solves what the same agents without it do not."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict

from optix_core import VectorBatchPipeline, make_agent
from optix_core.errors import ConfigError, SpaceError
from optix_core.replay import HindsightReplay, ReplayBuffer, goal_functions
from optix_core.testing import GoalGrid
from optix_torch.action_values.categorical import support_of

DISCRETE = {
    "DQN": {
        "hidden_sizes": (64, 64),
        "batch_size": 64,
        "learning_rate": 1e-3,
        "learning_starts": 200,
        "epsilon_decay_steps": 2000,
        "epsilon_min": 0.1,
    },
    "Rainbow": {"hidden_sizes": (64,), "batch_size": 64, "learning_starts": 200},
}
CONTINUOUS = {
    "SAC": {"hidden_sizes": (64, 64), "batch_size": 128, "learning_rate": 1e-3, "learning_starts": 200},
    "TD3": {"hidden_sizes": (64, 64), "learning_starts": 200, "train_freq": 2, "exploration_noise": 0.3},
}


class Plane(gym.Env[Any, Any]):
    """Go to a point of the square [-1, 1]^2: -1 per step, 0 for arriving within 0.1, which ends the episode."""

    def __init__(self) -> None:
        self.observation_space = Dict(
            {
                key: Box(-1.0, 1.0, (2,), np.float32)
                for key in ("observation", "achieved_goal", "desired_goal")
            }
        )
        self.action_space = Box(-1.0, 1.0, (2,), np.float32)
        self._at, self._goal, self._t = np.zeros(2), np.zeros(2), 0

    def compute_terminated(self, achieved_goal: Any, desired_goal: Any, info: Any) -> Any:
        del info
        return np.linalg.norm(np.subtract(achieved_goal, desired_goal), axis=-1) < 0.1

    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Any) -> Any:
        return np.subtract(self.compute_terminated(achieved_goal, desired_goal, info), 1.0, dtype=np.float64)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self._at, self._goal = self.np_random.uniform(-1, 1, 2), self.np_random.uniform(-1, 1, 2)
        self._t = 0
        return self._seen(), {}

    def step(self, action: Any) -> Any:
        self._at = np.clip(self._at + 0.15 * np.asarray(action), -1, 1)
        self._t += 1
        arrived = bool(self.compute_terminated(self._at, self._goal, {}))
        return self._seen(), float(arrived) - 1.0, arrived, self._t >= 25, {"is_success": arrived}

    def _seen(self) -> dict[str, Any]:
        at = self._at.astype(np.float32)
        return {"observation": at, "achieved_goal": at, "desired_goal": self._goal.astype(np.float32)}


def success_after(name: str, make_env: Any, steps: int, **options: Any) -> float:
    """The share of 100 new goals that the greedy policy reaches."""
    agent = make_agent(name, make_env(), seed=0, device="cpu", **options)
    pipeline = VectorBatchPipeline([make_env], agent, 500, seed=0)
    pipeline.setup()
    done = 0
    for window in pipeline.episodes():
        agent.learn(window)
        done += window.n_steps
        if done >= steps:
            break
    pipeline.teardown()
    env, reached = make_env(), 0
    for seed in range(100):
        observation, _ = env.reset(seed=seed)
        over = False
        while not over:
            action = agent.act(observation, deterministic=True)
            observation, _, terminated, truncated, info = env.step(action)
            over = terminated or truncated
        reached += info["is_success"]
    return reached / 100


def grid() -> GoalGrid:
    return GoalGrid(9)


def test_dqn_with_hindsight_solves_a_grid_that_plain_replay_does_not():
    assert success_after("DQN", grid, 2500, hindsight=4, **DISCRETE["DQN"]) >= 0.9
    assert success_after("DQN", grid, 2500, **DISCRETE["DQN"]) <= 0.4


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["future", "final", "episode"])
@pytest.mark.parametrize("name", DISCRETE)
def test_every_strategy_solves_it(name, strategy):
    reached = success_after(name, grid, 6000, hindsight=4, hindsight_strategy=strategy, **DISCRETE[name])
    assert reached >= 0.8


@pytest.mark.slow
def test_rainbow_with_plain_replay_does_not_solve_it():
    assert success_after("Rainbow", grid, 6000, **DISCRETE["Rainbow"]) <= 0.4


@pytest.mark.parametrize("name", [pytest.param("SAC", marks=pytest.mark.slow), "TD3"])
def test_continuous_agents_with_hindsight_reach_points_that_they_do_not_reach_without(name):
    assert success_after(name, Plane, 2500, hindsight=4, **CONTINUOUS[name]) >= 0.9
    assert success_after(name, Plane, 2500, **CONTINUOUS[name]) <= 0.6


@pytest.mark.parametrize("name", [*DISCRETE, *CONTINUOUS])
def test_agents_say_why_there_can_be_no_hindsight(name):
    env = GoalGrid(5) if name in DISCRETE else Plane()
    nameless: Any = gym.wrappers.TransformReward(env, float)
    env.compute_reward = None  # type: ignore[assignment]
    with pytest.raises(ConfigError, match="no compute_reward"):
        make_agent(name, nameless, hindsight=4, device="cpu")


@pytest.mark.parametrize("name", [*DISCRETE, *CONTINUOUS])
def test_options_out_of_range_are_errors(name):
    env = GoalGrid(5) if name in DISCRETE else Plane()
    with pytest.raises(ConfigError, match="future, final, episode"):
        make_agent(name, env, hindsight=4, hindsight_strategy="past", device="cpu")
    with pytest.raises(ConfigError, match="at least 0"):
        make_agent(name, env, hindsight=-1, device="cpu")


@pytest.mark.parametrize("name,env", [("DQN", "CartPole-v1"), ("SAC", "Pendulum-v1")])
def test_environments_without_goals_are_refused_before_training(name, env):
    with pytest.raises((ConfigError, SpaceError), match=r"compute_reward|Dict observation"):
        make_agent(name, gym.make(env), hindsight=4, device="cpu")


@pytest.mark.parametrize("name", [*DISCRETE, *CONTINUOUS])
def test_a_stored_agent_goes_on_with_the_same_draws(name):
    make_env = grid if name in DISCRETE else Plane
    options = {**(DISCRETE | CONTINUOUS)[name], "learning_starts": 50}
    first, second = (
        make_agent(name, make_env(), seed=seed, device="cpu", hindsight=4, **options) for seed in (1, 2)
    )
    pipeline = VectorBatchPipeline([make_env], first, 60, seed=0)
    pipeline.setup()
    windows = pipeline.episodes()
    first.learn(next(windows))
    second.load_state_dict(first.state_dict())
    window = next(windows)  # shown to the first agent while it was collected
    second.load_acting_state(first.acting_state())
    pipeline.teardown()
    reports = second.learn(window), first.learn(window)  # and to the second one now
    assert reports[0]["n_updates"] == reports[1]["n_updates"] > 0
    seen = window.time_major("observations").reshape(-1)[:32]
    np.testing.assert_array_equal(
        first.act_batch(seen, deterministic=True), second.act_batch(seen, deterministic=True)
    )


def test_a_support_from_data_covers_the_returns_of_goals_that_replay_puts_in():
    """Nobody ever arrives: rewards are all 0, and only relabelled ones are 1."""
    part = (np.float32, (1,))
    dtype = np.dtype([(name, *part) for name in ("observation", "achieved_goal", "desired_goal")])

    def reward(achieved: Any, desired: Any, info: Any) -> Any:
        return (np.abs(achieved - desired)[..., 0] < 0.5).astype(np.float64)

    rows = ReplayBuffer(100)
    replay = HindsightReplay(rows, reward, k=4)
    for t in range(50):
        seen, after = np.zeros(1, dtype), np.zeros(1, dtype)
        after["achieved_goal"], seen["desired_goal"], after["desired_goal"] = t, -1.0, -1.0
        replay.add(seen, np.zeros(1), np.zeros(1), after, np.array([False]), np.array([False]))
    assert support_of(rows, 0.9, np.random.default_rng(0)) == (-1.0, 1.0)
    low, high = support_of(replay, 0.9, np.random.default_rng(0))
    assert low == 0.0
    assert high >= 1.0


def test_goals_by_hand_and_through_the_option_are_the_same_replay():
    env = GoalGrid(5)
    agent = make_agent("DQN", env, hindsight=2, device="cpu", seed=0)
    assert isinstance(agent._replay, HindsightReplay)
    assert agent._replay.k == 2
    reward, terminated = goal_functions(env)
    assert HindsightReplay(ReplayBuffer(10), reward, terminated, k=2).strategy == agent._replay.strategy
