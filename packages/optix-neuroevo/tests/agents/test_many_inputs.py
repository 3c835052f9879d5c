"""An agent for long observations and many continuous actions: does the documented line run, and learn anything?

MuJoCo is an extra, so a stand-in has HumanoidStandup-v5's spaces (348 numbers, 17 actions in [-0.4, 0.4]); the real one
is asked where it is installed.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from optix_core import Optimizer, make_agent
from optix_neuroevo.agents.graph_agent import RecurrentGraphAgent

OBSERVED, ACTED, LARGEST = 348, 17, 0.4


class StandIn(gym.Env):
    """Twenty steps; the reward is largest for the action that a fixed projection of the observation asks for."""

    def __init__(self) -> None:
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (OBSERVED,), np.float64)
        self.action_space = gym.spaces.Box(-LARGEST, LARGEST, (ACTED,), np.float32)
        self._steps, self._observation = 0, np.zeros(OBSERVED)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self._steps = 0
        return self._look(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        assert self.action_space.contains(action), action
        wanted = LARGEST * np.tanh(self._observation[:ACTED])
        reward = 1.0 - float(np.square((action - wanted) / LARGEST).mean())
        self._steps += 1
        return self._look(), reward, False, self._steps == 20, {}

    def _look(self) -> Any:
        self._observation = self.np_random.normal(size=OBSERVED)
        return self._observation


def trained(env: Any, steps: int, **options: Any) -> tuple[RecurrentGraphAgent, Any]:
    made = env if isinstance(env, str) else env()
    agent = make_agent(
        "PPO", gym.make(made) if isinstance(made, str) else made, neuroevo=True, seed=0, **options
    )
    result = Optimizer(
        agent, env, n_envs=2, window_size=128, max_steps=steps, validation_episodes=0, seed=0
    ).run()
    return agent, result


def test_a_long_observation_is_read_through_a_projection_that_learns(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = make_agent("PPO", StandIn(), neuroevo=True, seed=0)
    agent, result = trained(StandIn, 1024)
    assert len(agent.graph.input_ids) == 16
    assert len(agent.graph.output_ids) == ACTED + 1
    before, after = (a._networks.extras["projection"].detach().numpy() for a in (first, agent))
    assert before.shape == (16, OBSERVED)
    assert (np.abs(after - before).max(axis=1) > 1e-3).all()
    assert np.isfinite(result.best_score)
    action = agent.env_actions(np.asarray(agent.act(np.zeros(OBSERVED)))[None])[0]
    assert action.shape == (ACTED,)


def test_all_numbers_can_be_inputs_of_their_own(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    agent, result = trained(StandIn, 512, graph_in=OBSERVED, grow_cooldown=5)
    assert len(agent.graph.input_ids) == OBSERVED
    assert np.isfinite(result.best_score)


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("mujoco") is None, reason="MuJoCo is not installed: optix-core[mujoco]"
)
def test_humanoid_standup_runs(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    agent, result = trained("HumanoidStandup-v5", 4096, hebbian_lr=1e-3)
    assert len(agent.graph.input_ids) == 16
    assert len(agent.graph.output_ids) == ACTED + 1
    assert np.isfinite(result.best_score)
    assert result.best_score > 0
